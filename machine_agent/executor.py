"""What the agent needs of an executor, whatever it is: a process of ours, a ComfyUI checkout, or a server at a URL."""

from __future__ import annotations

from typing import Protocol

import aiohttp

from drivers.wire import Gpu, ModelFile
from machine_agent.comfy import Comfy
from machine_agent.errors import ExecutorGone
from machine_agent.log_tail import LogSource
from machine_agent.shelf import Shelf


class Executor(Protocol):
    """One slot's executor. `url` and `generation` change with each start of it that we see."""

    index: int
    url: str
    generation: int
    ours: bool
    """Whether it works for nobody else, so that it may be ended and told to forget what it knows."""

    @property
    def is_up(self) -> bool:
        """Whether it has answered and still does."""

    async def supervise(self) -> None:
        """Keep it in view, and running if it is ours, until cancelled."""

    async def ready(self, timeout: float) -> None:
        """Wait until it answers. Raises ExecutorGone when it does not in time."""

    async def gone(self) -> ExecutorGone:
        """Wait until it ends or no longer answers; says how."""

    async def shelf(self, directory: str) -> Shelf:
        """Where an attempt's files go: a directory of this name where the executor keeps prompts apart."""

    async def classes(self) -> frozenset[str]:
        """The node classes it has."""

    def memory(self) -> int:
        """Bytes of main memory it holds now; 0 when that is not known."""

    def log_tail(self) -> list[str]:
        """The last lines it wrote, where we see them."""

    def log(self) -> LogSource:
        """What it writes from now on, where we see it, or hear of it."""

    async def after_run(self) -> None:
        """A run is over: tidy up; end it when it has had its time."""

    def freshen(self) -> None:
        """Nothing of ours runs on it now: start it afresh if the secrets have changed since it was started."""

    def kill(self) -> None:
        """It does not let go of our prompt: end it, if it is ours to end."""

    async def models(self) -> list[ModelFile] | None:
        """The models it has; None when they are those of the machine's own folder."""

    async def gpus(self) -> list[Gpu] | None:
        """The devices it has; None when they are those of the machine."""


class Traits:
    """What an executor told about itself, asked once for each start of it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._of = -1
        self._directories: bool | None = None
        self._classes: frozenset[str] | None = None

    async def directories(self, url: str, generation: int) -> bool:
        """Whether it gives each prompt a directory of its own."""
        self._begin(generation)
        if self._directories is None:
            self._directories = await Comfy(self._session, url).has_directories()
        return self._directories

    async def classes(self, url: str, generation: int) -> frozenset[str]:
        """The node classes it has."""
        self._begin(generation)
        if self._classes is None:
            self._classes = frozenset(await Comfy(self._session, url).object_info())
        return self._classes

    def _begin(self, generation: int) -> None:
        if generation != self._of:
            self._of, self._directories, self._classes = generation, None, None
