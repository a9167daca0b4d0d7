"""The server as packs see it: `PromptServer.instance`. It passes on to the executor's own parts and keeps nothing.

Every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from enum import IntEnum
from importlib import import_module
from typing import Any, ClassVar

from aiohttp import web

from comfy_core.packs.additions import Routes
from comfy_core.packs.prompt_queue import PackQueue
from comfy_core.surface import NotAttached, attached


class BinaryEventTypes(IntEnum):
    """What a binary message begins with."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4


class PromptServer:
    """The one server of this process. Attributes that a pack sets on it stay on it."""

    instance: ClassVar[PromptServer]

    def __init__(self) -> None:
        self.prompt_queue = PackQueue()
        self.supports = ["custom_nodes_from_web"]
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self._client: list[str | None] = []

    @property
    def routes(self) -> Routes:
        """The table to register routes in while a pack is imported; each gets a twin under /api."""
        return attached().additions.routes

    @property
    def app(self) -> web.Application:
        """The application itself. Raises NotAttached in a prestart script."""
        app = attached().app
        if app is None:
            raise NotAttached("the application is not there yet")
        return app

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop the server runs on. Raises NotAttached in a prestart script."""
        loop = attached().loop
        if loop is None:
            raise NotAttached("the server's loop is not there yet")
        return loop

    @property
    def port(self) -> int:
        """The port it listens on."""
        return attached().port

    @property
    def address(self) -> str:
        """The first address it listens on."""
        return next(iter(attached().settings.network.hosts), "127.0.0.1")

    @property
    def web_root(self) -> str:
        """The folder of the front end's files; empty where there is none."""
        front_end = import_module("comfy_core.server.frontend")  # torch comes with it: not in prestart scripts
        found = front_end.find(attached().settings.network.front_end)
        return "" if found is None else str(found)

    @property
    def number(self) -> int:
        """The number the next prompt gets."""
        return attached().queue.numbers

    @number.setter
    def number(self, value: int) -> None:
        attached().queue.numbers = value

    @property
    def client_id(self) -> str | None:
        """The client whose prompt runs."""
        if self._client:
            return self._client[0]
        running = attached().queue.running
        return running.client_id if running is not None else None

    @client_id.setter
    def client_id(self, value: str | None) -> None:
        self._client = [] if value is None else [value]

    @property
    def last_node_id(self) -> str | None:
        """The node of the running prompt that is being called."""
        client = self.client_id
        return attached().worker.running_node(client) if client is not None else None

    @property
    def last_prompt_id(self) -> str | None:
        """The prompt that runs."""
        running = attached().queue.running
        return running.prompt_id if running is not None else None

    @property
    def sockets(self) -> Mapping[str, web.WebSocketResponse]:
        """The open sockets by client id. A copy."""
        return attached().hub.sockets

    @property
    def on_prompt_handlers(self) -> list[Callable[[dict[str, Any]], dict[str, Any]]]:
        """The handlers that see each prompt before it is validated, in order; live."""
        return attached().additions.on_prompt

    def add_on_prompt_handler(self, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Have each body of POST /prompt pass through this before it is validated."""
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data: dict[str, Any]) -> dict[str, Any]:
        """The body as all handlers leave it."""
        changed: dict[str, Any] = attached().additions.changed_by_handlers(json_data)
        return changed

    def send_sync(self, event: str | int, data: Any, sid: str | None = None) -> None:
        """Tell one client, or all. An event with a number is binary: bytes, or (kind, image, size) for a preview."""
        hub = attached().hub
        if isinstance(event, str):
            hub.send(event, data, sid)
        elif event == BinaryEventTypes.UNENCODED_PREVIEW_IMAGE:
            hub.send_preview(data, {}, sid)
        elif event == BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA and isinstance(data, tuple):
            hub.send_preview(data[0], dict(data[1]), sid)
        else:
            hub.send_bytes(int(event), bytes(data), sid)

    async def send(self, event: str | int, data: Any, sid: str | None = None) -> None:
        """The same, for those who are on the server's loop."""
        self.send_sync(event, data, sid)

    async def send_json(self, event: str, data: Any, sid: str | None = None) -> None:
        """A text message."""
        self.send_sync(event, data, sid)

    async def send_bytes(self, event: int, data: Any, sid: str | None = None) -> None:
        """A binary message."""
        self.send_sync(event, data, sid)

    def send_progress_text(self, text: str | bytes, node_id: str, sid: str | None = None) -> None:
        """A line that a node shows while it runs; to the client whose prompt runs unless another is named."""
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        attached().hub.send_text(said, node_id, self.client_id if sid is None else sid)

    def get_queue_info(self) -> dict[str, Any]:
        """How many prompts wait or run, as status messages have it."""
        return {"exec_info": {"queue_remaining": attached().queue.remaining}}

    def queue_updated(self) -> None:
        """Tell every client how many prompts there are."""
        attached().hub.queue_changed()

    @staticmethod
    def new_id() -> str:
        """An id that no prompt has."""
        return str(uuid.uuid4())


PromptServer.instance = PromptServer()
