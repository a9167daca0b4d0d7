"""One server for each PostgreSQL version found on this machine."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.installation import Installation, installations
from tests.conftest import in_database, quick_folder, run_sql


def _one_of_each_version() -> list[Installation]:
    return list({found.major: found for found in reversed(installations())}.values())


@pytest.fixture(scope="session", params=_one_of_each_version(), ids=lambda found: f"postgresql-{found.major}")
def any_version(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a server, for every version that is installed."""
    home = Path(tempfile.mkdtemp(prefix="comfyfleet-test-", dir=quick_folder()))
    home.chmod(0o711)
    server = EmbeddedPostgres(home, durable=False, installation=request.param)
    try:
        yield asyncio.run(server.start())
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(home)


@pytest.fixture
def two_databases(any_version: str) -> Iterator[tuple[str, str]]:
    """The DSNs of two empty databases on one server."""
    for name in ("one", "two"):
        asyncio.run(run_sql(any_version, f"create database {name}"))
    yield in_database(any_version, "one"), in_database(any_version, "two")
    for name in ("one", "two"):
        asyncio.run(run_sql(any_version, f"drop database {name} with (force)"))


@pytest.fixture
def reachable_tmp() -> Iterator[Path]:
    """A temporary folder that every account may pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="comfyfleet-test-", dir=quick_folder()) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)
