"""An orchestrator for tests of the agent: real sockets, the machine wire, and a record of all that was said.

It applies the claim rules a real one would (sequence, stop) and keeps everything in memory. `stop` and `start`
take it off the network and back, on the same port.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from drivers.wire import (
    AgentFrame,
    Assign,
    Beat,
    EnrolReply,
    EnrolRequest,
    Event,
    EventResult,
    Grant,
    GrantRequest,
    Hello,
    InventoryChanged,
    Job,
    JobFile,
    MachineId,
    ServerFrame,
    UpdateRun,
    UpdateRunReply,
    Welcome,
)

CREDENTIAL = "agent-credential"
ENROL_TOKEN = "enrol-token"


class FakeOrchestrator:
    def __init__(self) -> None:
        self.port = 0
        self.events: list[Event] = []
        self.requests: list[list[tuple[str, int]]] = []
        self.frames: list[Any] = []
        self.uploads: dict[str, bytes] = {}
        self.grants: list[GrantRequest] = []
        self.served: dict[str, bytes] = {}
        self.stale: set[str] = set()
        self.refuse_claims: set[str] = set()
        self.unacceptable: set[tuple[str, str]] = set()
        self.revoked = False
        self.beat_s = 0.2
        self.logs = True
        self.connections = 0
        self.failing_puts = 0
        self._changed = asyncio.Condition()
        self._socket: web.WebSocketResponse | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=64_000_000)
        app.add_routes(
            [
                web.post("/api/v1/agent/enrol", self._enrol),
                web.get("/api/v1/agent/link", self._link),
                web.post("/api/update-run", self._update),
                web.post("/api/upload-grants", self._grant),
                web.put("/put/{id}", self._put),
                web.get("/files/{name}", self._file),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def inventories(self) -> list[Hello | InventoryChanged]:
        """What was told of the machine: at the hello, which may know all of it already, and whenever it changed."""
        return [frame for frame in self.frames if isinstance(frame, Hello | InventoryChanged)]

    async def until(self, condition: Any, timeout: float = 30.0) -> None:
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(condition)

    async def send(self, frame: ServerFrame) -> None:
        await self.until(lambda: self._socket is not None and not self._socket.closed)
        await self._socket.send_str(msgspec.json.encode(frame).decode())

    async def assign(self, job: Job) -> None:
        await self.send(Assign(job))

    def statuses(self, attempt_id: str) -> list[str]:
        return [event.status for event in self.events if event.attempt_id == attempt_id]

    def last(self, attempt_id: str) -> Event:
        return [event for event in self.events if event.attempt_id == attempt_id][-1]

    async def ended(self, attempt_id: str, timeout: float = 30.0) -> Event:
        ends = {"success", "failed", "timeout", "cancelled"}
        await self.until(lambda: ends & set(self.statuses(attempt_id)), timeout)
        return self.last(attempt_id)

    def frames_of(self, kind: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def file(self, key: str, content: bytes, **changes: Any) -> JobFile:
        self.served[key] = content
        fields = {
            "key": key,
            "url": f"/files/{key}",
            "name": f"{key}.png",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "trusted": True,
            **changes,
        }
        return JobFile(**fields)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _enrol(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=EnrolRequest)
        if body.token != ENROL_TOKEN:
            return web.json_response({"title": "Forbidden", "detail": "this token was used already"}, status=403)
        return _json(EnrolReply(MachineId("m1"), "test machine", CREDENTIAL))

    async def _link(self, request: web.Request) -> web.StreamResponse:
        if self.revoked or request.headers.get("Authorization") != f"Bearer {CREDENTIAL}":
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            frame = msgspec.json.decode(message.data, type=AgentFrame)
            self.frames.append(frame)
            if isinstance(frame, Hello):
                welcome = Welcome(MachineId("m1"), "test machine", self.beat_s, 10, logs=self.logs)
                await socket.send_str(msgspec.json.encode(welcome).decode())
                self._socket = socket
                self.connections += 1
            await self._note()
        return socket

    async def _update(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {CREDENTIAL}"
        events = msgspec.json.decode(await request.read(), type=UpdateRun).events
        if any((event.attempt_id, event.status) in self.unacceptable for event in events):
            return web.json_response({"title": "Unprocessable", "detail": "not acceptable"}, status=422)
        self.requests.append([(event.attempt_id, event.seq) for event in events])
        results = [self._apply(event) for event in events]
        await self._note()
        return _json(UpdateRunReply(results))

    def _apply(self, event: Event) -> EventResult:
        if event.attempt_id in self.refuse_claims or event.attempt_id in self.stale:
            return EventResult(event.attempt_id, event.seq, "foreign", stop=True, reason="claimed by another machine")
        seen = [old.seq for old in self.events if old.attempt_id == event.attempt_id]
        if event.seq in seen:
            return EventResult(event.attempt_id, event.seq, "duplicate")
        self.events.append(event)
        return EventResult(event.attempt_id, event.seq, "applied")

    async def _grant(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=GrantRequest)
        assert request.headers["Authorization"] == f"Bearer token-{body.attempt_id}"
        if body.attempt_id in self.stale:
            return web.json_response({"detail": "the attempt was superseded"}, status=409)
        self.grants.append(body)
        file_id = f"file-{len(self.grants)}"
        known = any(hashlib.sha256(content).hexdigest() == body.sha256 for content in self.uploads.values())
        return _json(Grant(file_id, None if known else f"/put/{file_id}", {"X-Signed": "yes"}))

    async def _put(self, request: web.Request) -> web.Response:
        if self.failing_puts:
            self.failing_puts -= 1
            return web.Response(status=503)
        assert request.headers["X-Signed"] == "yes"
        self.uploads[request.match_info["id"]] = await request.read()
        return web.Response(status=204)

    async def _file(self, request: web.Request) -> web.Response:
        content = self.served.get(request.match_info["name"])
        return web.Response(status=404) if content is None else web.Response(body=content)


def beats(orchestrator: FakeOrchestrator) -> list[Beat]:
    return orchestrator.frames_of(Beat)


def _json(value: Any) -> web.Response:
    return web.json_response(json.loads(msgspec.json.encode(value)))
