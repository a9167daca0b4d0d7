"""An executor that somebody else runs, at a URL: it is watched, never started, ended or told to forget.

It may work for others too, so nothing is asked of it but what concerns prompts of ours.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from drivers.wire import Gpu, ModelFile
from machine_agent.comfy import Comfy
from machine_agent.errors import ExecutorGone
from machine_agent.executor import Traits
from machine_agent.log_tail import HeardLog
from machine_agent.shelf import RemoteShelf

_PROBE_S = 5.0
_EVERY_S = 2.0
_ABSENT_S = 1.0
_PROBES_MISSED = 3
_log = structlog.get_logger()


class RemoteExecutor:
    """One slot's share of a server. Every return after it was away counts as a new generation."""

    ours = False

    def __init__(self, index: int, url: str, scratch: Path, session: aiohttp.ClientSession) -> None:
        self.index = index
        self.url = url
        self.generation = 0
        self._scratch = scratch
        self._session = session
        self._traits = Traits(session)
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()

    @property
    def is_up(self) -> bool:
        """Whether it answered the last time."""
        return self._up.is_set()

    async def supervise(self) -> None:
        """Probe it until cancelled."""
        missed = 0
        while True:
            answered = await Comfy(self._session, self.url).answers(_PROBE_S)
            missed = 0 if answered else missed + 1
            if answered and not self.is_up:
                self._came()
            elif missed == _PROBES_MISSED and self.is_up:
                self._went()
            await asyncio.sleep(_EVERY_S if answered else _ABSENT_S)

    def _came(self) -> None:
        _log.info("executor_up", slot=self.index, url=self.url)
        self.generation += 1
        self._down.clear()
        self._up.set()

    def _went(self) -> None:
        _log.warning("executor_silent", slot=self.index, url=self.url)
        self._up.clear()
        self._down.set()

    async def ready(self, timeout: float) -> None:
        """Wait until it answers. Raises ExecutorGone when it does not in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError as error:
            raise ExecutorGone(f"{self.url} did not answer in {timeout:.0f} s") from error

    async def gone(self) -> ExecutorGone:
        """Wait until it no longer answers."""
        await self._down.wait()
        return ExecutorGone(f"{self.url} no longer answers")

    async def shelf(self, directory: str) -> RemoteShelf:
        """Uploads and downloads."""
        apart = await self._traits.directories(self.url, self.generation)
        name = f"run-{directory}"
        return RemoteShelf(self._session, self.url, self._scratch / name, name if apart else None)

    async def classes(self) -> frozenset[str]:
        """The node classes it has."""
        return await self._traits.classes(self.url, self.generation)

    async def models(self) -> list[ModelFile] | None:
        """Names it lists; sizes and hashes are not to be had."""
        found = await Comfy(self._session, self.url).model_names()
        return [ModelFile(kind, name, 0) for kind, names in found.items() for name in names]

    async def gpus(self) -> list[Gpu] | None:
        """The devices it computes on."""
        return [_gpu(device) for device in await Comfy(self._session, self.url).devices()]

    def memory(self) -> int:
        """Unknown."""
        return 0

    def log_tail(self) -> list[str]:
        """Its log is elsewhere."""
        return []

    def log(self) -> HeardLog:
        """Its log is elsewhere: what it tells of it."""
        return HeardLog()

    async def after_run(self) -> None:
        """Nothing of it is ours to tidy."""

    def freshen(self) -> None:
        """It is not ours to start, so that it gets no secrets."""

    def kill(self) -> None:
        """It is not ours to end: it is left with our prompt, and the next one waits its turn."""
        _log.warning("executor_keeps_a_prompt", slot=self.index, url=self.url)


def _gpu(device: dict[str, Any]) -> Gpu:
    size = device.get("vram_total")
    return Gpu(str(device.get("name", "?")), str(device.get("type", "?")), size if isinstance(size, int) else 0)
