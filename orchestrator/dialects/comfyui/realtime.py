"""/api/v1/realtime/{deployment}: the image loop. A client keeps a socket open, and a machine for as long as it does.

Frames are runs/realtime.py's; the loop's bookkeeping is live/realtime.py's. The run itself is queued, placed and ended
as any other.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import WebSocket, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect

from drivers.wire import AttemptId, RunId, WorkflowJson
from orchestrator.auth import Principal, requires
from orchestrator.dialects.comfyui.door import OPT
from orchestrator.errors import ApiProblem
from orchestrator.live.fleet import Fleet
from orchestrator.live.following import follow
from orchestrator.live.hub import Hub
from orchestrator.live.parts import Parts
from orchestrator.live.realtime import Result, Session, checked_values, end_of
from orchestrator.live.starting import Order, start
from orchestrator.runs import inputs, realtime
from orchestrator.runs.state import HELD, TERMINAL, Cancel
from orchestrator.store import runs
from orchestrator.store.ids import new_id
from orchestrator.store.ledger import Change
from orchestrator.wire import ProgressEvent, RunEvent

Socket = WebSocket[Principal, Any, State]
REFUSED: Final = 4400


class Loop:
    """One client and its run."""

    def __init__(self, socket: Socket, parts: Parts, hub: Hub, fleet: Fleet, run_id: RunId, session: Session) -> None:
        self._socket = socket
        self._parts = parts
        self._hub = hub
        self._fleet = fleet
        self._run_id = run_id
        self._session = session
        self._graph: WorkflowJson = {}
        self._values: dict[str, Any] = {}
        self._taken = False

    async def begin(self, deployment_id: UUID) -> None:
        """Queue the run. Raises ApiProblem."""
        principal = self._socket.user
        principal.check_run(str(deployment_id))
        order = Order(
            id=self._run_id,
            organisation_id=principal.organisation_id,
            deployment_id=str(deployment_id),
            created_by=principal.user_id,
            max_attempts=1,
        )
        run = await start(self._parts, order)
        facts = await runs.version_facts(self._parts.db, [run.version_id])
        self._graph = facts[run.version_id].api_graph
        await self._say("status", {"sid": self._run_id})

    async def listen(self) -> None:
        """Take what the client sends, until it goes."""
        while True:
            message: Any = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(detail="the client left")
            data = message.get("bytes")
            if data:
                picture = realtime.read(data)
                if picture is not None:
                    self._session.offer(picture)
            elif message.get("text"):
                await self._told(message["text"])

    async def _told(self, text: str) -> None:
        try:
            message = msgspec.json.decode(text, type=dict[str, Any])
            if message.get("event") == "input":
                self._values |= checked_values(message.get("inputs"))
            elif message.get("event") != "queue_prompt":
                return
        except ValueError as error:
            await self._say("error", {"message": str(error)})
            return
        self._session.offer(workflow=inputs.lay(self._graph, self._values, {})[0])

    async def feed(self) -> None:
        """Send on what the client gave last, each time the machine is free."""
        while True:
            frame = await self._session.next_input(self._attempt)
            self._fleet.tell(self._run_id, frame)

    def _attempt(self) -> AttemptId | None:
        """The attempt that takes pictures: one that its machine has begun."""
        return self._fleet.attempt_of(self._run_id) if self._taken else None

    async def give(self) -> None:
        """Give the client what came back, and how long it took."""
        while True:
            await self._given(await self._session.next_result())

    async def _given(self, result: Result) -> None:
        for picture in result.pictures:
            await self._socket.send_data(realtime.write(picture), mode="binary")
        latency = {"total_ms": result.total_ms, "machine_ms": result.machine_ms, "dropped": result.dropped}
        await self._say("latency", latency)

    async def watch(self) -> None:
        """Tell the client how its run stands, until it has ended."""
        organisation_id, draining = self._socket.user.organisation_id, self._socket.app.state["draining"]
        events = follow(self._parts.db, self._hub, organisation_id, self._run_id, after=0, draining=draining)
        async for event in events:
            if isinstance(event, ProgressEvent):
                shown = {"prompt_id": self._run_id, "current_node": event.node_id, "progress": event.value}
                await self._say("live_status", shown)
            elif isinstance(event, RunEvent):
                await self._say("live_status", {"prompt_id": self._run_id, "status": event.status})
                self._taken = event.status in HELD - {"queued"}
                self._session.wake()
                if event.status in TERMINAL:
                    name = "success" if event.status == "success" else "failed"
                    await self._say(name, {"prompt_id": self._run_id})
                    return

    async def hang_up(self) -> None:
        """The run has ended before the client did."""
        await self._socket.close(1000)

    async def leave(self) -> None:
        """The client is gone: the machine ends the run, or it is cancelled where no machine has it."""
        attempt_id = self._fleet.attempt_of(self._run_id)
        if self._taken and attempt_id is not None and self._fleet.tell(self._run_id, end_of(attempt_id)):
            return
        why = Cancel("the client left before a machine took it")
        await self._parts.ledger.change(Change(self._run_id, why, self._socket.user.organisation_id))

    async def _say(self, event: str, data: Any) -> None:
        await self._socket.send_data(msgspec.json.encode({"event": event, "data": data}).decode(), mode="text")


@websocket("/api/v1/realtime/{deployment_id:uuid}", opt=OPT | requires("playground", "runs:write", bound=True))
async def loop(socket: Socket, deployment_id: UUID, parts: Parts, hub: Hub, fleet: Fleet) -> None:
    """Pictures in, pictures out, for as long as the socket is open."""
    await socket.accept()
    run_id = RunId(new_id())
    with fleet.realtime.open(run_id) as session:
        one = Loop(socket, parts, hub, fleet, run_id, session)
        try:
            await one.begin(deployment_id)
        except ApiProblem as problem:
            await socket.close(REFUSED, f"{problem.code}: {problem.detail}"[:120])
            return
        await _run(one)


async def _run(one: Loop) -> None:
    tasks = [asyncio.create_task(part) for part in (one.listen(), one.feed(), one.give(), one.watch())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        await one.hang_up()
    except WebSocketDisconnect:
        return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.shield(one.leave())


handlers: Final = [loop]
