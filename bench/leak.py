"""Whether the executor's memory grows: what it holds after 500 prompts and after 5,000. It speaks HTTP only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.table import Measure, measure

FIRST, LAST = 500, 5_000
LENGTH = 10
WINDOW = 50
PATIENCE_S = 60.0
MIB = 1 << 20
Graph = dict[str, Any]


def images(seed: int) -> Graph:
    """An image inverted again and again, and shown."""
    graph: Graph = {"0": node("EmptyImage", width=64, height=64, batch_size=1, color=seed)}
    graph |= {str(i): node("ImageInvert", image=[str(i - 1), 0]) for i in range(1, LENGTH)}
    return graph | {"out": node("PreviewImage", images=[str(LENGTH - 1), 0])}


def numbers(seed: int) -> Graph:
    """A number handed on, and shown."""
    graph: Graph = {"0": node("PrimitiveInt", value=seed)}
    graph |= {str(i): node("PrimitiveInt", value=[str(i - 1), 0]) for i in range(1, LENGTH)}
    return graph | {"out": node("PreviewAny", source=[str(LENGTH - 1), 0])}


def node(class_type: str, **inputs: Any) -> Graph:
    """One node of a graph."""
    return {"class_type": class_type, "inputs": inputs}


@asynccontextmanager
async def executor(*flags: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A running executor in a folder of its own: its address and process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "comfy_core", "--port", "0", "--cpu", "--threads", "1"]
        path = Path(folder) / "log"
        with path.open("wb") as log:
            process = subprocess.Popen([*command, "--base-directory", folder, *flags], stderr=log, stdout=log)
        try:
            yield await _address(path), psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()


async def _address(log: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if '"listening"' in line and line.endswith("}"):
                return f"http://127.0.0.1:{json.loads(line)['port']}"
        await asyncio.sleep(0.05)
    raise RuntimeError(log.read_text())


async def run(session: aiohttp.ClientSession, url: str, start: int, end: int) -> None:
    """Queue prompts start..end, images and numbers in turn, and wait until all are done."""
    for number in range(start, end):
        graph = (images if number % 2 else numbers)(number)
        async with session.post(f"{url}/prompt", json={"prompt": graph, "client_id": "bench"}) as answer:
            answer.raise_for_status()
        if number % WINDOW == 0 or number == end - 1:
            await _idle(session, url)


async def _idle(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        async with session.get(f"{url}/prompt") as answer:
            if (await answer.json())["exec_info"]["queue_remaining"] == 0:
                return
        await asyncio.sleep(0.01)


async def measures() -> list[Measure]:
    """Resident bytes of the executor, idle and after so many prompts."""
    async with executor() as (url, process), aiohttp.ClientSession() as session:
        held = {0: process.memory_info().rss}
        for start, end in ((0, FIRST), (FIRST, LAST)):
            await run(session, url, start, end)
            held[end] = process.memory_info().rss
    return [
        measure(f"executor_rss_after_{after}", size / MIB, "MiB", held[FIRST] / MIB, "history, caches, the allocator")
        for after, size in held.items()
    ]
