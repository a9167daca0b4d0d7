"""Fixtures every test may use: a real PostgreSQL, and a database of its own with the schema, for a test that asks.

One embedded server runs per pytest process. A database is a copy of a template that holds the schema: cheap enough to
give every test a fresh one.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from orchestrator.store.db import Database
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrate import read_migrations, record

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "schema.sql"
HANGS_AFTER_S = float(os.environ.get("TEST_HANGS_AFTER_S", "180"))
CHAOS_ENDS_AFTER_S = 1800.0
STDERR = pytest.StashKey[int]()
_numbers = count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: tests have theirs captured."""
    config.stash[STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def _watched(item: pytest.Item) -> Generator[None, object, object]:
    """What waits for ever shows where it does and ends its process: pytest then names the test, and goes on in another.

    An exception raised out of nowhere would not do: it leaves the event loops of anyio and Playwright unable to end.
    Nor would pytest's own timer, which stops at a failure: what is taken down after one may hang too.
    """
    longest = CHAOS_ENDS_AFTER_S if item.get_closest_marker("chaos") else HANGS_AFTER_S
    faulthandler.dump_traceback_later(longest, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _watched


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Every async test runs on asyncio."""
    return "asyncio", {"use_uvloop": False}


def in_database(dsn: str, name: str) -> str:
    """The DSN of another database on the same server."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


async def run_sql(dsn: str, *statements: str) -> None:
    """Run statements on a connection of their own, each by itself."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def quick_folder() -> Path | None:
    """Memory, where there is plenty: copying a database to a busy disk takes 0.4 s, to memory 0.02 s."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2_000_000_000
    return memory if roomy else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The DSN of an empty, forgetful server that runs as long as this pytest process."""
    home = Path(tempfile.mkdtemp(prefix="comfyfleet-test-", dir=quick_folder()))
    home.chmod(0o711)
    server = EmbeddedPostgres(home, durable=False, settings={"max_connections": "300"})
    try:
        yield asyncio.run(server.start())
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def template_database(postgres: str) -> str:
    """The name of a database with the schema in it, for `create database ... template`."""
    name = "schema_template"
    asyncio.run(run_sql(postgres, f"create database {name}"))
    asyncio.run(_install_schema(in_database(postgres, name)))
    return name


async def _install_schema(dsn: str) -> None:
    """The schema, with every migration recorded as applied: `migrate` finds nothing to do."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(SCHEMA.read_text())
        for migration in read_migrations():
            await record(connection, migration)
    finally:
        await connection.close()


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """The DSN of a new database without any object, dropped afterwards."""
    yield from _database(postgres, "template0")


@pytest.fixture
def database_url(postgres: str, template_database: str) -> Iterator[str]:
    """The DSN of a new database with the schema, dropped afterwards."""
    yield from _database(postgres, template_database)


def _database(postgres: str, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    asyncio.run(run_sql(postgres, f"create database {name} template {template} strategy file_copy"))
    yield in_database(postgres, name)
    asyncio.run(run_sql(postgres, f"drop database {name} with (force)"))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An open Database on a fresh schema."""
    database = await Database.open(database_url)
    try:
        yield database
    finally:
        await database.close()
