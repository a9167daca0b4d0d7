"""The WebSockets of all clients and the way to them from any thread. It knows no prompts.

Messages from the worker are gathered and carried over to the loop together, so that a graph of thousands of nodes
does not wake it once per node. A client that reads too slowly is closed with 1013 instead of filling memory.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import WSCloseCode, web

BACKLOG_AT_MOST = 100_000
SHOWN_CHARACTERS = 500
LATE = WSCloseCode.TRY_AGAIN_LATER


class Client:
    """One connected socket and what is still to be sent to it."""

    def __init__(self, client_id: str, socket: web.WebSocketResponse) -> None:
        self.client_id = client_id
        self.socket = socket
        self._backlog: deque[str] = deque()
        self._more = asyncio.Event()

    def push(self, text: str) -> None:
        """Send this after what waits already."""
        self._backlog.append(text)
        self._more.set()

    async def pump(self) -> None:
        """Send until the socket closes or the client is too far behind."""
        while not self.socket.closed:
            await self._more.wait()
            self._more.clear()
            while self._backlog:
                if len(self._backlog) > BACKLOG_AT_MOST:
                    await self.socket.close(code=LATE, message=b"too slow")
                    return
                try:
                    await self.socket.send_str(self._backlog.popleft())
                except (ConnectionError, RuntimeError):
                    return


class Hub:
    """Clients by id; connecting again with an id takes the place of the old socket."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: deque[tuple[str, Any, str | None]] = deque()
        self._woken = False
        self._depth: Callable[[], int] = lambda: 0

    def attach(self, loop: asyncio.AbstractEventLoop, depth: Callable[[], int]) -> None:
        """Say on which loop the sockets live, and how to ask for the queue's depth."""
        self._loop = loop
        self._depth = depth

    def join(self, client: Client) -> None:
        """A client has connected."""
        self._clients[client.client_id] = client

    def leave(self, client: Client) -> None:
        """A client has gone, unless another socket has taken its place already."""
        if self._clients.get(client.client_id) is client:
            del self._clients[client.client_id]

    def status(self) -> dict[str, Any]:
        """The body of a status message."""
        return {"status": {"exec_info": {"queue_remaining": self._depth()}}}

    def queue_changed(self) -> None:
        """Tell everyone how many prompts there are. Callable from any thread."""
        self.send("status", self.status(), None)

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """Tell one client, or all. Callable from any thread."""
        self._outbox.append((event, data, client_id))
        if not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon_threadsafe(self._carry)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Call this on the loop after so many seconds. Callable from any thread."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(lambda: loop.call_later(delay, call))

    def _carry(self) -> None:
        self._woken = False
        while self._outbox:
            event, data, client_id = self._outbox.popleft()
            known = self._clients.get(client_id) if client_id is not None else None
            receivers = [known] if known else [] if client_id is not None else list(self._clients.values())
            if receivers:
                text = encode(event, data)
                for client in receivers:
                    client.push(text)


def encode(event: str, data: Any) -> str:
    """A message as text. What JSON does not have (a node may show anything) is written as Python shows it."""
    try:
        return dumps({"type": event, "data": data})
    except (TypeError, ValueError, RecursionError):
        return dumps({"type": event, "data": {"unreadable": repr(data)[:SHOWN_CHARACTERS]}})


def dumps(data: Any) -> str:
    """JSON of something that node classes had a hand in."""
    return json.dumps(data, default=str, skipkeys=True)
