"""The running executor as node packs find it from inside their modules. It holds references and does nothing.

Packs have no constructor to be handed anything: they import `folder_paths`, `server` or `nodes` and expect the one
server of this process behind them. This is that one place; code of our own is handed its parts instead.

It is attached in two steps. Prestart scripts run before torch may be imported and need folders only, so `settings` and
`additions` are there first; the rest is there once the executor is assembled, which is before any pack is imported.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from comfy_core.errors import ExecutorError
from comfy_core.packs.additions import Additions

if TYPE_CHECKING:
    from aiohttp import web

    from comfy_core.config import Settings
    from comfy_core.queue import History, PromptQueue
    from comfy_core.registry import Registry, Services
    from comfy_core.server.hub import Hub
    from comfy_core.server.state import State
    from comfy_core.worker import Worker


class NotAttached(ExecutorError):
    """A part of the executor was asked for before it was there, or outside an executor."""


class Surface:
    """What packs reach. additions: what they bring; the server adds it once all are imported.

    app and loop are those of the server, there when packs are imported; port is the one it listens on, once it does.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.additions = Additions()
        self.app: web.Application | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.port = settings.network.port
        self._parts: State | None = None

    @property
    def routes(self) -> web.RouteTableDef:
        """The routes that packs register while they are imported."""
        return self.additions.routes

    def complete(self, parts: State) -> None:
        """The executor is assembled: everything else is there from now on."""
        self._parts = parts

    @property
    def parts(self) -> State:
        """The assembled executor. Raises NotAttached before it is there."""
        if self._parts is None:
            raise NotAttached("the executor is not assembled yet: a prestart script can use folders only")
        return self._parts

    @property
    def services(self) -> Services:
        """Folders, memory, metadata."""
        return self.parts.services

    @property
    def registry(self) -> Registry:
        """The node classes."""
        return self.parts.registry

    @property
    def queue(self) -> PromptQueue:
        """The prompts that wait and the one that runs."""
        return self.parts.queue

    @property
    def history(self) -> History:
        """What became of the last prompts."""
        return self.parts.history

    @property
    def hub(self) -> Hub:
        """The way to the clients."""
        return self.parts.hub

    @property
    def worker(self) -> Worker:
        """The thread that executes prompts."""
        return self.parts.worker


_ATTACHED: list[Surface] = []


def attach(surface: Surface) -> None:
    """Make this the executor of the process. Raises NotAttached when there is one already."""
    if _ATTACHED:
        raise NotAttached("this process has its executor already")
    _ATTACHED.append(surface)


def attached() -> Surface:
    """The executor of this process. Raises NotAttached outside one."""
    if not _ATTACHED:
        raise NotAttached("no executor runs in this process")
    return _ATTACHED[0]


def detach() -> None:
    """Forget it, so that tests can attach another."""
    _ATTACHED.clear()
