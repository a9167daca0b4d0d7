"""The WebSockets of all clients and the way to them from any thread. It knows no prompts.

Messages from the worker are gathered for a moment and carried over to the loop together, so that neither a graph of
thousands of nodes nor a prompt that takes a millisecond wakes it once per node; once a run is over, at once. A client
that reads too slowly is closed with 1013 instead of filling memory. Pictures are encoded in a thread when their turn
comes; of the small ones of one node that wait, only the newest is sent.
"""

from __future__ import annotations

import asyncio
import json
import math
import reprlib
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from comfy_core.log import Said, in_words
from comfy_core.server.line import Line, Message
from comfy_core.server.previews import TEXT, Preview, preview_of, text_message

BACKLOG_AT_MOST = 100_000
BACKLOG_BYTES = 256 << 20
SHOWN_CHARACTERS = 500
LATE = WSCloseCode.TRY_AGAIN_LATER
STATUS = "status"
LATER = -1
"""No event of a client's: a call that is arranged on the loop."""
GATHER_S = 0.002
TOGETHER_BYTES = 1 << 16
GOODBYE_S = 2.0
ENCODER = msgspec.json.Encoder(enc_hook=str)


class Client:
    """One connected client and what is still to be sent to it. features: what it negotiated."""

    def __init__(self, client_id: str, line: Line) -> None:
        self.client_id = client_id
        self.socket = line.socket
        self.features: dict[str, Any] = {}
        self._line = line
        self._backlog: deque[Message | Preview] = deque()
        self._bytes = 0
        self._newest: dict[Any, Preview] = {}
        self._late = False
        self._idle = False
        self._pictures = 0
        self._more = asyncio.Event()

    def push(self, message: Message) -> None:
        """Send this after what waits already."""
        self.hold(message)
        self._more.set()

    def hold(self, message: Message) -> None:
        """The same, but only once `go` is called."""
        self._wait(message, len(message[1]))

    def go(self) -> None:
        """Send what waits: here and now where nothing stands in the way, which is most often so, else by `pump`."""
        if self._idle and self._pictures == 0 and not self._late and self._line.write(self._backlog):
            self._backlog.clear()
            self._bytes = 0
        else:
            self._more.set()

    def _wait(self, message: Message | Preview, weight: int) -> None:
        if self._late:
            return
        self._backlog.append(message)
        self._bytes += weight
        if len(self._backlog) > BACKLOG_AT_MOST or self._bytes > BACKLOG_BYTES:
            self._give_up()

    def show(self, preview: Preview) -> None:
        """Send this picture after what waits already; a small one gives way to a newer one of its node."""
        if self._late:
            return
        if preview.replaceable:
            self._newest[preview.node_id] = preview
        self._pictures += 1
        self._wait(preview, preview.weight)

    def _give_up(self) -> None:
        """It is too far behind: say so if it still reads, and let go of it in any case."""
        self._late = True
        self._pictures = 0
        self._backlog.clear()
        self._newest.clear()
        asyncio.get_running_loop().call_later(GOODBYE_S, self._line.abort)

    async def pump(self) -> None:
        """Send until the socket closes or the client is too far behind."""
        try:
            while not self.socket.closed:
                self._idle = not self._backlog
                await self._more.wait()
                self._idle = False
                self._more.clear()
                while self._backlog:
                    await self._send_some()
                if self._late:
                    await self.socket.close(code=LATE, message=b"too slow")
        except (ConnectionError, RuntimeError):
            return

    async def _send_some(self) -> None:
        """The picture that is next, or the messages before the next picture, up to a limit."""
        first = self._backlog[0]
        if isinstance(first, Preview):
            self._backlog.popleft()
            self._pictures -= 1
            self._bytes -= first.weight
            if self._is_newest(first):
                await self._send_picture(first)
            return
        together: list[Message] = []
        room = TOGETHER_BYTES
        while self._backlog and room > 0:
            message = self._backlog[0]
            if isinstance(message, Preview):
                break
            together.append(message)
            self._backlog.popleft()
            room -= len(message[1])
        self._bytes -= TOGETHER_BYTES - room
        await self._line.send(together)

    def _is_newest(self, preview: Preview) -> bool:
        if not preview.replaceable:
            return True
        newest = self._newest.get(preview.node_id) is preview
        if newest:
            del self._newest[preview.node_id]
        return newest

    async def _send_picture(self, preview: Preview) -> None:
        with_facts = bool(self.features.get("supports_preview_metadata")) and "prompt_id" in preview.facts
        data = await asyncio.to_thread(preview.encoded, with_facts)
        if data is not None:
            await self.socket.send_bytes(data)


class Hub:
    """Clients by id; connecting again with an id takes the place of the old socket."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._outbox: deque[tuple[str | int, Any, str | None]] = deque()
        self._woken = False
        self._hurried = False
        self._gathering: asyncio.TimerHandle | None = None
        self._depth: Callable[[], int] = lambda: 0
        self._following: set[str] = set()

    def attach(self, loop: asyncio.AbstractEventLoop, depth: Callable[[], int]) -> None:
        """Say on which loop the sockets live, from its thread, and how to ask for the queue's depth."""
        self._loop, self._thread, self._gathering = loop, threading.get_ident(), None
        self._depth = depth

    def join(self, client: Client) -> None:
        """A client has connected. An older socket of the same id stays open and hears no more."""
        self._clients[client.client_id] = client

    def leave(self, client: Client) -> None:
        """A client has gone, unless another socket has taken its place already."""
        if self._clients.get(client.client_id) is client:
            del self._clients[client.client_id]
            self._following.discard(client.client_id)

    @property
    def sockets(self) -> dict[str, web.WebSocketResponse]:
        """The open socket of each client. A copy."""
        return {client_id: client.socket for client_id, client in self._clients.copy().items()}

    def follow_log(self, client_id: str, wanted: bool) -> None:
        """Whether a client that is connected is sent the lines of the log."""
        if wanted and client_id in self._clients:
            self._following.add(client_id)
        else:
            self._following.discard(client_id)

    def logged(self, said: Said) -> None:
        """A line was logged. Callable from any thread."""
        if self._following:
            entry = in_words(said)
            for client_id in tuple(self._following):
                self.send("logs", {"entries": [entry], "size": None}, client_id)

    def status(self) -> dict[str, Any]:
        """The body of a status message."""
        return {"status": {"exec_info": {"queue_remaining": self._depth()}}}

    def queue_changed(self) -> None:
        """Tell everyone how many prompts there are. Callable from any thread."""
        self.send(STATUS, self.status(), None)

    def send(self, event: str | int, data: Any, client_id: str | None) -> None:
        """Tell one client, or all. Callable from any thread."""
        self._outbox.append((event, data, client_id))
        if not self._woken and self._loop is not None:
            self._woken = True
            if threading.get_ident() == self._thread:
                self._gather()
            else:
                self._loop.call_soon_threadsafe(self._gather)

    def send_bytes(self, event: int, data: bytes, client_id: str | None) -> None:
        """A binary message, after its event's number, to one client or all. Callable from any thread."""
        self.send(event, data, client_id)

    def send_text(self, text: str, node_id: str, client_id: str | None) -> None:
        """What a node has to say while it runs. Callable from any thread."""
        self.send_bytes(TEXT, text_message(node_id, text), client_id)

    def send_preview(self, preview: Any, facts: dict[str, Any], client_id: str | None) -> None:
        """A picture as a node hands it over: (kind, image, largest side or None). Callable from any thread."""
        known = preview_of(preview, facts)
        if known is not None:
            self.send(0, known, client_id)

    def later(self, delay: float, call: Callable[[], None], still: Callable[[], bool]) -> None:
        """Call this on the loop after so many seconds, if it is `still` wanted there. Callable from any thread."""
        self.send(LATER, (delay, call, still), None)

    def hurry(self) -> None:
        """Carry now what was said until now. Callable from any thread."""
        if self._loop is None or self._hurried:
            return
        if threading.get_ident() == self._thread:
            self._carry()
        else:
            self._woken = self._hurried = True
            self._loop.call_soon_threadsafe(self._carry)

    def _gather(self) -> None:
        if self._loop is not None and self._gathering is None:
            self._gathering = self._loop.call_later(GATHER_S, self._carry)

    def _carry(self) -> None:
        self._woken = self._hurried = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        told: dict[Client, None] = {}
        while self._outbox:
            event, data, client_id = self._outbox.popleft()
            if client_id is None and event == STATUS and self._statuses_follow():
                continue  # newer ones come at once
            if event == LATER:
                _arrange(*data)
                continue
            receivers = self._receivers(client_id)
            if receivers:
                _hand(event, data, receivers)
                for client in receivers:
                    told[client] = None
        for client in told:
            client.go()

    def _receivers(self, client_id: str | None) -> list[Client]:
        if client_id is None:
            return list(self._clients.values())
        known = self._clients.get(client_id)
        return [] if known is None else [known]

    def _statuses_follow(self) -> bool:
        """Two more of them: ComfyUI sends two as a prompt is queued and taken, and clients may count on both."""
        return len(self._outbox) > 1 and self._outbox[0][0] == STATUS == self._outbox[1][0]


def _arrange(delay: float, call: Callable[[], None], still: Callable[[], bool]) -> None:
    if still():
        asyncio.get_running_loop().call_later(delay, call)


def _hand(event: str | int, data: Any, receivers: list[Client]) -> None:
    if isinstance(data, Preview):
        for client in receivers:
            client.show(data)
        return
    message = encode(event, data) if isinstance(event, str) else (WSMsgType.BINARY, struct.pack(">I", event) + data)
    for client in receivers:
        client.hold(message)


def encode(event: str, data: Any) -> Message:
    """A message as text. What JSON does not have (a node may show anything) is written as Python shows it."""
    try:
        text = ENCODER.encode({"type": event, "data": data})
    except Exception:  # noqa: BLE001 - what nodes show may raise anything as it is made text
        text = _encode_odd(event, data)
    return WSMsgType.TEXT, text


def _encode_odd(event: str, data: Any) -> bytes:
    """What the fast way will not take: keys that are no texts, half characters, structures that hold themselves."""
    try:
        return dumps({"type": event, "data": data}).encode()
    except Exception:  # noqa: BLE001 - as above
        return dumps({"type": event, "data": {"unreadable": reprlib.repr(data)[:SHOWN_CHARACTERS]}}).encode()


def dumps(data: Any) -> str:
    """JSON of something that node classes had a hand in. NaN and infinities, which JSON does not have, become null."""
    try:
        return json.dumps(data, default=str, skipkeys=True, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(data), default=str, skipkeys=True)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
