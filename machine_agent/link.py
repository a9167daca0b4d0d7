"""The agent's WebSocket to the orchestrator: hello, heartbeats, live progress; jobs and orders come in.

It dials out and dials again for ever. It knows frames, not what is done about them. Progress and previews are
the newest only: at most four of each per attempt and second, and none when the link is down or slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from drivers.wire import (
    AgentFrame,
    AgentLog,
    AttemptId,
    Beat,
    Hello,
    LiveOutput,
    Log,
    NodeDone,
    Preview,
    Progress,
    ServerFrame,
    Welcome,
)
from machine_agent.backoff import Backoff

_LIVE_S = 0.25
_REVOKED_S = 30.0
_WELCOME_S = 15.0
_LOGS_BEHIND = 100
_LOG_S = 1.0
_LIMIT = 64_000_000  # bytes of one frame: a job carries a whole workflow
_log = structlog.get_logger()


class Revoked(Exception):
    """The orchestrator no longer knows this machine's credential."""


class Link:
    """One connection at a time. `hello` and `beat` are asked for afresh; `handle` gets what comes in."""

    def __init__(
        self,
        url: str,
        credential: str,
        hello: Callable[[], Hello],
        beat: Callable[[], Beat],
        handle: Callable[[ServerFrame], None],
        own_log: Callable[[], list[str]],
    ) -> None:
        self._url = url.replace("http", "ws", 1) + "/api/v1/agent/link"
        self._headers = {"Authorization": f"Bearer {credential}"}
        self._hello = hello
        self._beat = beat
        self._handle = handle
        self._own_log = own_log
        self._connected = False
        self._logs_wanted = False
        self._urgent: asyncio.Queue[AgentFrame] = asyncio.Queue()
        self._live: dict[tuple[AttemptId, type], Progress | Preview] = {}
        self._live_wake = asyncio.Event()

    def send(self, frame: AgentFrame) -> None:
        """Send soon, if connected; dropped otherwise, since the next hello says it all."""
        if self._connected:
            self._urgent.put_nowait(frame)

    def show(self, frame: Progress | Preview) -> None:
        """Show live progress; a newer frame takes an older one's place."""
        if self._connected:
            self._live[frame.attempt_id, type(frame)] = frame
            self._live_wake.set()

    def write(self, frame: Log) -> None:
        """Send lines of a log, if they are wanted and the line is not behind; dropped otherwise."""
        if self._connected and self._logs_wanted and self._urgent.qsize() < _LOGS_BEHIND:
            self._urgent.put_nowait(frame)

    def answer(self, frame: LiveOutput) -> None:
        """Send what a real-time run made, if connected."""
        self.send(frame)

    def tell(self, frame: NodeDone) -> None:
        """Say what a node made, if connected; at the end it is said anyway."""
        self.send(frame)

    def forget(self, attempt_id: AttemptId) -> None:
        """Show nothing more of an attempt."""
        for key in [key for key in self._live if key[0] == attempt_id]:
            del self._live[key]

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff = Backoff()
        while True:
            delay: float
            try:
                await self._session(backoff)
                delay = backoff.next()
            except Revoked as refusal:
                _log.error("link_refused", reason=str(refusal), wait_s=_REVOKED_S)
                delay = _REVOKED_S
            await asyncio.sleep(delay)

    async def _session(self, backoff: Backoff) -> None:
        """One connection from beginning to end. Only Revoked leaves it as an error."""
        try:
            async with connect(
                self._url,
                additional_headers=self._headers,
                max_size=_LIMIT,
                open_timeout=15,
                close_timeout=2,
                proxy=None,
            ) as socket:
                await self._converse(socket, backoff)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                raise Revoked(f"status {status}") from error
            _log.warning("link_down", error=f"status {status}")
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code in (4401, 4403):
                raise Revoked(error.rcvd.reason) from error
            _log.warning("link_down", error=str(error))
        except (OSError, WebSocketException, msgspec.MsgspecError) as error:
            _log.warning("link_down", error=str(error) or type(error).__name__)

    async def _converse(self, socket: ClientConnection, backoff: Backoff) -> None:
        await socket.send(_encode(self._hello()))
        async with asyncio.timeout(_WELCOME_S):
            welcome = _decode(await socket.recv())
        if not isinstance(welcome, Welcome):
            raise ConnectionError("the orchestrator did not welcome us")
        _log.info("link_up", machine=welcome.name, beat_s=welcome.beat_s)
        backoff.reset()
        self._connected, self._logs_wanted = True, welcome.logs
        parts = [
            asyncio.create_task(part)
            for part in (
                self._receive(socket),
                self._heartbeat(socket, welcome.beat_s),
                self._send(socket),
                self._show(socket),
                self._tell_log(socket),
            )
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            self._connected = False
            self._urgent = asyncio.Queue()
            self._live.clear()
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _receive(self, socket: ClientConnection) -> None:
        while True:
            message = await socket.recv()
            try:
                frame = _decode(message)
            except msgspec.MsgspecError as error:
                _log.warning("frame_unreadable", error=str(error))
                continue
            self._handle(frame)

    async def _heartbeat(self, socket: ClientConnection, beat_s: float) -> None:
        while True:
            await socket.send(_encode(self._beat()))
            await asyncio.sleep(beat_s)

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            await socket.send(_encode(await self._urgent.get()))

    async def _tell_log(self, socket: ClientConnection) -> None:
        while self._logs_wanted:
            lines = self._own_log()
            if lines:
                await socket.send(_encode(AgentLog(lines)))
            await asyncio.sleep(_LOG_S)
        await asyncio.Event().wait()  # the other parts go on without it

    async def _show(self, socket: ClientConnection) -> None:
        while True:
            await self._live_wake.wait()
            self._live_wake.clear()
            live, self._live = self._live, {}
            for frame in live.values():
                await socket.send(_encode(frame))
            await asyncio.sleep(_LIVE_S)


def _encode(frame: AgentFrame) -> str:
    return msgspec.json.encode(frame).decode()


def _decode(message: str | bytes) -> ServerFrame:
    frame: ServerFrame = msgspec.json.decode(message, type=ServerFrame)
    return frame
