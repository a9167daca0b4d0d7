"""The real orchestrator process on a free port with a database of its own, one for each test module.

Importable pieces: `Orchestrator` (url, email, password, api_key, data) and `start_orchestrator`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest
from msgspec import Struct

from tests.wire.strangers import stranger_of

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0
_numbers = count(1)


class Orchestrator(Struct):
    """A running orchestrator and its first administrator."""

    url: str
    email: str
    password: str
    api_key: str
    data: Path
    database_url: str
    process: subprocess.Popen[bytes]

    @property
    def headers(self) -> dict[str, str]:
        """The administrator's API key as a header."""
        return {"Authorization": f"Bearer {self.api_key}"}

    def stop(self, number: int = signal.SIGTERM, timeout: float = 15) -> int:
        """End it; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


def start_orchestrator(data: Path, database_url: str, **settings: str) -> Orchestrator:
    """Start `python -m orchestrator serve --port 0`; settings are FLEET_ variables in lower case."""
    data.mkdir(parents=True, exist_ok=True)
    port_file = data / "port"
    port_file.unlink(missing_ok=True)
    variables = [f"FLEET_{name.upper()}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "orchestrator", "serve", "--database-url", database_url]
    with (data / "orchestrator.log").open("ab") as log:
        process = subprocess.Popen(
            ["env", *variables, *command, "--data", data, "--port", "0", "--port-file", port_file],
            cwd=ROOT,
            stderr=log,
            stdout=log,
        )
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError((data / "orchestrator.log").read_text())
        time.sleep(0.02)
    up = msgspec.json.decode((data / "up.json").read_bytes())
    url = f"http://127.0.0.1:{port_file.read_text().strip()}"
    return Orchestrator(url, up["email"], up["password"], up["api_key"], data, database_url, process)


async def _sql(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def module_database_url(postgres: str) -> Iterator[str]:
    """The DSN of a new, empty database for the tests of one module."""
    name = f"wire_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_sql(postgres, f"create database {name} template template0"))
    base = postgres.partition("?")
    yield f"{base[0].rpartition('/')[0]}/{name}{base[1]}{base[2]}"
    asyncio.run(_sql(postgres, f"drop database {name} with (force)"))


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Orchestrator]:
    """A running orchestrator; its tests share it, so each makes what it needs under names of its own."""
    running = start_orchestrator(
        tmp_path_factory.mktemp("orchestrator"), module_database_url, webhook_private="true", max_upload="4000000"
    )
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def api(orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the orchestrator with the administrator's API key."""
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=orchestrator.headers, timeout=20) as client:
        yield client


@pytest.fixture
async def stranger(orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of another organisation's owner."""
    async with stranger_of(orchestrator) as client:
        yield client


@pytest.fixture
async def nobody(orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any credential."""
    async with httpx.AsyncClient(base_url=orchestrator.url, timeout=20) as client:
        yield client
