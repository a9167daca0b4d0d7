"""What it costs to start a run through the API: authentication, validation, rate limit and Idempotency-Key are all on.

Baselines in the same run: bare handlers of the same bodies in Litestar and in FastAPI, and the same route in FastAPI
and pydantic with the same SQL behind it, coalesced as ours and plain (twins.py). No machine is connected, so nothing
else is at work.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import msgspec
import psutil
from msgspec import Struct

from bench.fleet import percentile
from bench.http import Connection, Pump, head_of
from bench.system import PATIENCE_S, orchestrator
from bench.table import Measure, measure
from orchestrator.store.embedded import EmbeddedPostgres

CONNECTIONS = 128
SECONDS = 3.0
ROUNDS = 5
PACE = 100.0
PATH = "/api/v1/runs"
TWINS = ("bare-litestar", "bare-fastapi", "fastapi", "fastapi-plain")
_numbers = count(1)


class Server(Struct):
    """A process that starts runs."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds the process has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@asynccontextmanager
async def _database() -> AsyncIterator[str]:
    home = Path(tempfile.mkdtemp(prefix="comfyfleet-bench-"))
    home.chmod(0o711)
    server = EmbeddedPostgres(home)
    try:
        yield await server.start()
    finally:
        await server.stop()


@asynccontextmanager
async def _twin(which: str, dsn: str = "") -> AsyncIterator[Server]:
    """One of the twins as a process."""
    port_file = Path(tempfile.mkdtemp(prefix="comfyfleet-bench-")) / "port"
    command = [sys.executable, "-m", "bench.twins", which, "--dsn", dsn, "--port-file", str(port_file)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the twin {which} did not start")
            await asyncio.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port_file.read_text()}", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


async def _one(http: Connection, body: dict[str, object]) -> float:
    """Seconds of one request, with a key of its own."""
    before = time.perf_counter()
    await http.post(PATH, body, headers={"Idempotency-Key": f"{before}-{next(_numbers)}"})
    return time.perf_counter() - before


async def rate(server: Server, key: str, body: dict[str, object]) -> tuple[float, float]:
    """Requests a second, and for each CPU second of the server; every connection is kept busy."""
    data = msgspec.json.encode(body)
    head = f"POST {PATH} HTTP/1.1\r\n{head_of(server.url, key)}Content-Length: {len(data)}\r\n"
    once = f"{time.time_ns()}"

    def following() -> bytes:
        return f"{head}Idempotency-Key: {once}-{next(_numbers)}\r\n\r\n".encode() + data

    async with Connection(server.url, key) as http:
        await _one(http, body)
    where, loop = urlsplit(server.url), asyncio.get_running_loop()
    host, port = where.hostname or "", where.port or 80
    begin, cpu = time.perf_counter(), server.cpu_s()
    pumps = [(await loop.create_connection(lambda: Pump(following), host, port))[1] for _ in range(CONNECTIONS)]
    await asyncio.sleep(SECONDS)
    done, took, used = sum(pump.done for pump in pumps), time.perf_counter() - begin, server.cpu_s() - cpu
    for pump in pumps:
        pump.stop()
    failed = next((pump.failed for pump in pumps if pump.failed), None)
    if failed is not None:
        raise RuntimeError(f"{server.url}: {failed.decode(errors='replace')}")
    return done / took, done / used


async def paced(url: str, key: str, body: dict[str, object]) -> list[float]:
    """Seconds of each request at PACE a second."""
    async with Connection(url, key) as http:
        taken, start = [], time.perf_counter()
        for number in range(int(SECONDS * PACE)):
            await asyncio.sleep(max(0.0, start + number / PACE - time.perf_counter()))
            taken.append(await _one(http, body))
    return taken


async def measures() -> list[Measure]:
    """All of this file's measures."""
    async with _database() as dsn, orchestrator(dsn) as system:
        body: dict[str, object] = {"version_id": await system.version(), "priority": 1, "timeout_s": 60}
        async with AsyncExitStack() as stack:
            twins = [await stack.enter_async_context(_twin(which, dsn)) for which in TWINS]
            servers = (*twins, Server(system.url, system.pid))
            # One after the other, several times, so that a busy moment of the machine hits all alike.
            rounds = [[await rate(server, system.api_key, body) for server in servers] for _ in range(ROUNDS)]
            bare, bare_other, twin, plain, ours = (
                tuple(median(values) for values in zip(*rates, strict=True)) for rates in zip(*rounds, strict=True)
            )
            other = await paced(twins[2].url, system.api_key, body)
            delays = await paced(system.url, system.api_key, body)
    why = "CPU of the event loop: HTTP, middleware, the run's checks; then one commit for many runs"
    p50, p99 = (percentile(delays, part) * 1e3 for part in (0.5, 0.99))
    other50, other99 = (percentile(other, part) * 1e3 for part in (0.5, 0.99))
    return [
        measure("access.create_run_per_s", ours[0], "runs/s", twin[0], f"{why}; baseline: FastAPI twin"),
        measure("access.create_run_per_cpu_s", ours[1], "runs/CPU s", twin[1], "the server's own CPU; FastAPI twin"),
        measure("access.create_run_beside_plain", ours[0], "runs/s", plain[0], "FastAPI twin, a commit for each"),
        measure("access.create_run_beside_bare_handler", ours[1], "runs/CPU s", bare[1], "nothing behind the handler"),
        measure("access.bare_handler_per_cpu_s", bare[1], "requests/CPU s", bare_other[1], "Litestar; bare FastAPI"),
        measure("access.create_run_p50_ms", p50, "ms", other50, f"at {PACE:g}/s: one commit"),
        measure("access.create_run_p99_ms", p99, "ms", other99, f"at {PACE:g}/s: one commit"),
    ]
