"""How long the executor takes for graphs that compute nothing, to start, and in memory; over HTTP and WebSocket only.

The baseline is a real ComfyUI where `COMFYUI_DIR` names a checkout (and `COMFYUI_PYTHON` its Python), measured in the
same sitting. Without one it is the floor: torch alone for start and memory, the bare HTTP and WebSocket traffic for
prompts, and ten times the time of 100 nodes for 1,000.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
import psutil

from bench.leak import Graph, node
from bench.table import Measure, measure

PATIENCE_S = 120.0
REPEATS = 7
PROMPTS = 300
MIB = 1 << 20
IMPORT_TORCH = "import time; t = time.perf_counter(); import torch, psutil; print(time.perf_counter() - t)"
IMPORT_TORCH += "; print(psutil.Process().memory_info().rss)"


def chain_numbers(count: int, seed: int) -> Graph:
    """So many numbers in a row, and the last one shown."""
    graph: Graph = {"0": node("PrimitiveInt", value=seed)}
    graph |= {str(i): node("PrimitiveInt", value=[str(i - 1), 0]) for i in range(1, count)}
    return graph | {"out": node("PreviewAny", source=[str(count - 1), 0])}


def chain_images(count: int, seed: int) -> Graph:
    """A small image inverted so many times, and shown."""
    graph: Graph = {"src": node("EmptyImage", width=64, height=64, batch_size=1, color=seed & 0xFFFFFF)}
    graph |= {str(i): node("ImageInvert", image=[str(i - 1) if i else "src", 0]) for i in range(count)}
    return graph | {"out": node("PreviewImage", images=[str(count - 1), 0])}


def wide(count: int, seed: int) -> Graph:
    """One number shown so many times."""
    return {"src": node("PrimitiveInt", value=seed)} | {
        f"o{i}": node("PreviewAny", source=["src", 0]) for i in range(count)
    }


def pairs(count: int, seed: int) -> Graph:
    """So many numbers, each shown."""
    numbers = {f"s{i}": node("PrimitiveInt", value=seed + i) for i in range(count)}
    return numbers | {f"o{i}": node("PreviewAny", source=[f"s{i}", 0]) for i in range(count)}


SHAPES: dict[str, Callable[[int, int], Graph]] = {
    "chain": chain_numbers,
    "chain_images": chain_images,
    "wide": wide,
    "pairs": pairs,
}


class Client:
    """One ComfyUI client: posts a prompt and waits until its success is told."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._id = uuid.uuid4().hex
        self._seed = int(time.time()) % 100_000 * 1000

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"{self._url}/ws?clientId={self._id}", max_msg_size=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._session.close()

    async def run(self, shape: Callable[[int, int], Graph], count: int) -> float:
        """Seconds from the first byte sent to the message of success; a graph never seen before."""
        self._seed += 7919
        graph = shape(count, self._seed)
        start = time.perf_counter()
        async with self._session.post(f"{self._url}/prompt", json={"prompt": graph, "client_id": self._id}) as answer:
            if answer.status != 200:
                raise RuntimeError((await answer.text())[:300])
        while True:
            message = await self._socket.receive(PATIENCE_S)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise RuntimeError(f"the socket closed: {message}")
            said = json.loads(message.data)["type"]
            if said == "execution_success":
                return time.perf_counter() - start
            if said == "execution_error":
                raise RuntimeError(message.data[:500])

    async def median(self, shape: Callable[[int, int], Graph], count: int, repeats: int = REPEATS) -> float:
        """The median of some runs, in milliseconds."""
        return statistics.median([await self.run(shape, count) for _ in range(repeats)]) * 1000

    async def per_second(self, shape: Callable[[int, int], Graph]) -> float:
        """Prompts a second, one after another."""
        start = time.perf_counter()
        for _ in range(PROMPTS):
            await self.run(shape, 1)
        return PROMPTS / (time.perf_counter() - start)


@dataclass(slots=True)
class Figures:
    """What was measured of one server. times: shape -> nodes -> ms."""

    start_s: float = 0.0
    idle: float = 0.0
    after: float = 0.0
    times: dict[str, dict[int, float]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)


@asynccontextmanager
async def started(command: list[str], folder: str, url: str | None = None) -> AsyncIterator[tuple[str, int, float]]:
    """A server: its address, process id and the seconds until it answered."""
    log_path = Path(folder) / "log"
    begin = time.perf_counter()
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=os.environ.get("COMFYUI_DIR") if url else None, stdout=log, stderr=log)
    try:
        address = url or await _logged_address(log_path)
        await _answering(address, process)
        yield address, process.pid, time.perf_counter() - begin
    finally:
        process.kill()
        process.wait()


async def _logged_address(log: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if '"listening"' in line and line.endswith("}"):
                return f"http://127.0.0.1:{json.loads(line)['port']}"
        await asyncio.sleep(0.02)
    raise RuntimeError(log.read_text()[-2000:])


async def _answering(url: str, process: subprocess.Popen[bytes]) -> None:
    async with aiohttp.ClientSession() as session:
        while process.poll() is None:
            try:
                async with session.get(f"{url}/system_stats"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.02)
    raise RuntimeError(f"the server ended with status {process.returncode}")


async def examine(url: str, pid: int, start_s: float, longest: int) -> Figures:
    """Every figure of one server. longest: nodes of the largest graph it takes."""
    server = psutil.Process(pid)
    found = Figures(start_s, server.memory_info().rss / MIB)
    async with Client(url) as client:
        await client.run(chain_numbers, 1)
        for name, shape in SHAPES.items():
            sizes = [size for size in (1, 100, 1000) if size <= longest]
            found.times[name] = {size: await client.median(shape, size, 3 if size > 100 else REPEATS) for size in sizes}
        for name in ("chain", "chain_images"):
            found.rates[name] = await client.per_second(SHAPES[name])
    found.after = server.memory_info().rss / MIB
    return found


async def ours() -> Figures:
    """comfy_core, started afresh."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "comfy_core", "--port", "0", "--cpu", "--base-directory", folder]
        async with started(command, folder) as (url, pid, seconds):
            return await examine(url, pid, seconds, 1000)


async def comfyui() -> Figures | None:
    """A real ComfyUI, where there is one. It refuses chains of 1,000 nodes, so it is asked for 100 at most."""
    if "COMFYUI_DIR" not in os.environ:
        return None
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        places = [f"--{kind}-directory={folder}" for kind in ("output", "temp", "input", "user")]
        command = [python, "main.py", "--cpu", "--port", "18188", *places, "--database-url", "sqlite:///:memory:"]
        async with started(command, folder, "http://127.0.0.1:18188") as (url, pid, seconds):
            return await examine(url, pid, seconds, 100)


async def floor() -> Figures:
    """torch alone, and the bare traffic."""
    out = subprocess.run(
        [sys.executable, "-c", IMPORT_TORCH], capture_output=True, text=True, check=True
    ).stdout.split()
    found = Figures(float(out[0]), float(out[1]) / MIB)
    with tempfile.TemporaryDirectory() as folder:
        async with started([sys.executable, "-m", "bench.floor"], folder) as (url, _, _seconds), Client(url) as client:
            found.rates = {name: await client.per_second(SHAPES[name]) for name in ("chain", "chain_images")}
    return found


async def measures() -> list[Measure]:
    """Start, memory, latencies, growth and rates, each beside its baseline."""
    base = await comfyui() or await floor()
    mine = await ours()
    table = [
        measure("executor.start_s", mine.start_s, "s", base.start_s, "importing torch"),
        measure("executor.idle_mib", mine.idle, "MiB", base.idle, "torch's own libraries"),
        measure("executor.after_bench_mib", mine.after, "MiB", mine.idle, "the allocator, history, results kept"),
    ]
    for name, times in mine.times.items():
        for size, took in times.items():
            known = base.times.get(name, {}).get(size)
            table.append(measure(f"executor.{name}_{size}_ms", took, "ms", known, "the interpreter, per node"))
        table.append(measure(f"executor.{name}_growth", times[1000] / times[100], "x", 10.0, "linear would be 10"))
    for name, rate in mine.rates.items():
        table.append(
            measure(f"executor.{name}_prompts_per_s", rate, "1/s", base.rates[name], "one client's HTTP and WebSocket")
        )
    return table
