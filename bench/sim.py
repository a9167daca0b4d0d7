"""Simulated agents: they speak the machine wire like a real one, and execute nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from bench.http import Connection
from drivers.wire import (
    PROTOCOL,
    Assign,
    AttemptId,
    Beat,
    EnrolReply,
    Event,
    Hello,
    Inventory,
    Job,
    Output,
    ServerFrame,
    Timings,
    UpdateRun,
    Welcome,
)

NODES = ["EmptyImage", "ImageInvert", "PreviewAny", "PrimitiveInt"]


class Agent:
    """One machine with `slots` slots. on_job is called the moment a job arrives."""

    def __init__(self, url: str, credential: EnrolReply, slots: int, on_job: Callable[[Job], None]) -> None:
        self._url = url
        self._credential = credential.credential
        self._slots = slots
        self._on_job = on_job
        self._held: dict[AttemptId, Job] = {}
        self._events: list[Event] = []
        self._claims: set[AttemptId] = set()
        self._bell = asyncio.Event()
        self.connected = asyncio.Event()
        self.done = 0

    async def run(self) -> None:
        """Work until cancelled."""
        headers = {"Authorization": f"Bearer {self._credential}"}
        address = self._url.replace("http", "ws", 1) + "/api/v1/agent/link"
        async with (
            connect(address, additional_headers=headers, compression=None, ping_interval=None) as socket,
            Connection(self._url, self._credential) as http,
        ):
            hello = Hello(PROTOCOL, "bench", self._slots, Inventory(node_classes=NODES), [])
            await socket.send(msgspec.json.encode(hello).decode())
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive(socket, group))
                group.create_task(self._report(http))

    async def _receive(self, socket: ClientConnection, group: asyncio.TaskGroup) -> None:
        decode = msgspec.json.Decoder(ServerFrame).decode
        async for message in socket:
            frame = decode(message)
            if isinstance(frame, Welcome):
                group.create_task(self._beat(socket, frame.beat_s))
                self.connected.set()
            elif isinstance(frame, Assign):
                self._take(frame.job)

    async def _beat(self, socket: ClientConnection, every_s: float) -> None:
        while True:
            await socket.send(msgspec.json.encode(Beat(len(self._held), list(self._held))).decode())
            await asyncio.sleep(every_s)

    def _take(self, job: Job) -> None:
        self._on_job(job)
        self._held[job.attempt_id] = job
        self._claims.add(job.attempt_id)
        self._events.append(Event(job.run_id, job.attempt_id, job.token, 1, "started"))
        self._bell.set()

    async def _report(self, http: Connection) -> None:
        """One lane that takes everything that waits, as the real agent does; a claim is waited for."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._events:
                events, self._events = self._events, []
                reply = await http.post("/api/update-run", UpdateRun(events))
                for event, result in zip(events, reply["results"], strict=True):
                    if result["verdict"] != "applied":
                        raise RuntimeError(f"{event} was refused: {result}")
                    self._answered(event)

    def _answered(self, event: Event) -> None:
        job = self._held[event.attempt_id]
        if event.status == "started":
            outputs = [Output("2", "text", data="done")]
            common = (job.run_id, job.attempt_id, job.token)
            self._events += [
                Event(*common, 2, "running"),
                Event(*common, 3, "uploading"),
                Event(*common, 4, "success", outputs=outputs, timings=Timings(execute_ms=1)),
            ]
        elif event.status == "success":
            del self._held[event.attempt_id]
            self.done += 1
