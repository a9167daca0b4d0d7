"""One executor process for all tests that only ask it things, and a connected client per test."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.executor.process import ROOT, Client, Executor, nearest_upscaler, picture

DEMO_WEIGHTS = ROOT / "deploy/demo/models/upscale_models/realesr-animevideov3-x4.safetensors"


@pytest.fixture(scope="session")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """A running executor with two upscalers and some pictures."""
    base = tmp_path_factory.mktemp("executor")
    weights = base / "models/upscale_models"
    weights.mkdir(parents=True)
    (base / "input").mkdir()
    nearest_upscaler(weights / "nearest2.safetensors")
    shutil.copy(DEMO_WEIGHTS, weights)
    (weights / "damaged.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{not json......")
    picture(base / "input/small.png")
    running = Executor(base)
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def inputs(executor: Executor) -> Path:
    """The executor's input folder."""
    return executor.base / "input"


@pytest.fixture
async def client(executor: Executor) -> AsyncIterator[Client]:
    """A client that is connected and has read its greeting."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        one = Client(executor.url, session, uuid.uuid4().hex)
        await one.connect()
        yield one
        await one.socket.close()
