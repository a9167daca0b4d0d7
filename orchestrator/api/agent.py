"""The machine side of the API: an agent enrols, keeps its line open, and reports what became of attempts.

Reports prove themselves by the attempt's token; the agent's own credential says whose agent is talking. Nothing here
decides: events go to the ledger, frames to the fleet.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, WebSocket, post, websocket
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException, WebSocketDisconnect

from drivers.wire import (
    PROTOCOL,
    AgentFrame,
    EnrolReply,
    EnrolRequest,
    Event,
    EventResult,
    Failure,
    Hello,
    MachineId,
    UpdateRun,
    UpdateRunReply,
)
from orchestrator.api.problems import documented, invalid
from orchestrator.auth import PUBLIC
from orchestrator.errors import BadRequest, Gone, Invalid, Unauthorized
from orchestrator.files import Files
from orchestrator.live.fleet import Fleet, Link
from orchestrator.live.parts import Parts
from orchestrator.runs.nul import text_without_nul, without_nul
from orchestrator.runs.state import Refusal, Reported, Step
from orchestrator.store import fleet as fleet_store
from orchestrator.store import machines
from orchestrator.store.db import Database, DatabaseUnavailable, Unstorable
from orchestrator.store.ids import digest, token
from orchestrator.store.ledger import Change

log = structlog.get_logger("agents")

HELLO_S: Final = 15.0
TRY_AGAIN: Final = 1013
_AGENTS: Final = b'{"events":'  # how an agent's body begins, so that it is decoded once
_UPDATE: Final = msgspec.json.Decoder(UpdateRun)
_FRAME: Final = msgspec.json.Decoder(AgentFrame)
_NO_FRAME: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Unstorable)


@post(
    "/api/v1/agent/enrol",
    opt=PUBLIC,
    status_code=200,
    operation_id="enrol_agent",
    summary="Trade a one-time token for the agent's credential",
    tags=["agents"],
    responses=documented(400, 410),
)
async def enrol(data: EnrolRequest, db: Database) -> EnrolReply:
    """The credential is shown once; the token cannot be used again."""
    credential = token("cfa")
    machine = await machines.enrol(db, digest(data.token), digest(credential), data.agent_version)
    if machine is None:
        raise Gone(
            "the token is unknown, used or expired: ask for a new one (POST /api/v1/machines/{id}/enrol-token)",
            code="enrol_token_gone",
        )
    return EnrolReply(MachineId(machine.id), machine.name, credential)


def _bearer(headers: Any) -> str:
    scheme, _, credential = (headers.get("authorization") or "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


@websocket("/api/v1/agent/link", opt=PUBLIC)
async def link(socket: WebSocket[Any, Any, State], db: Database, fleet: Fleet) -> None:
    """An agent's line: Hello, Welcome, then frames both ways (drivers/wire.py), for as long as it lives."""
    machine = await machines.by_credential(db, digest(_bearer(socket.headers)))
    if machine is None:
        raise NotAuthorizedException("the machine is not enrolled, or was deleted")
    await socket.accept()
    joined: Link | None = None
    try:
        async with asyncio.timeout(HELLO_S):
            hello = _FRAME.decode(await _said(socket))
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            await socket.close(1002, f"say hello first, in protocol {PROTOCOL}")
            return
        live = await fleet_store.live(db, [MachineId(machine.id)])
        joined = await fleet.join(live[MachineId(machine.id)], machine.organisation_id, hello)
        await _converse(socket, fleet, joined)
    except (WebSocketDisconnect, TimeoutError, DatabaseUnavailable, KeyError, *_NO_FRAME) as error:
        log.info("line closed", machine=machine.name, reason=str(error) or type(error).__name__)
        await _close(socket, 1002 if isinstance(error, _NO_FRAME) else TRY_AGAIN)
    finally:
        if joined is not None:
            await asyncio.shield(_left(fleet, joined))


async def _left(fleet: Fleet, joined: Link) -> None:
    try:
        await fleet.leave(joined)
    except DatabaseUnavailable as error:
        log.info("the end of a line was not noted", machine=joined.machine.name, error=str(error))


async def _close(socket: WebSocket[Any, Any, State], code: int) -> None:
    if socket.connection_state != "disconnect":
        await socket.close(code)


async def _said(socket: WebSocket[Any, Any, State]) -> str:
    """What the agent says next. Raises UnicodeDecodeError when it is no text."""
    said: str | bytes = await socket.receive_data(mode="text")
    return text_without_nul(said.decode() if isinstance(said, bytes) else said)


async def _converse(socket: WebSocket[Any, Any, State], fleet: Fleet, joined: Link) -> None:
    """Frames in and out until either side ends."""

    async def send() -> None:
        while (frame := await joined.outbox.get()) is not None:
            await socket.send_data(msgspec.json.encode(frame).decode(), mode="text")

    async def receive() -> None:
        while True:
            await fleet.frame(joined, await _said(socket))

    try:
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(receive())
            await send()
            receiving.cancel()
    except ExceptionGroup as several:  # whoever ended the line is told by the first
        raise several.exceptions[0] from several


@post(
    "/api/update-run",
    opt=PUBLIC,
    status_code=200,
    operation_id="update_run",
    summary="Report what became of attempts",
    tags=["agents"],
    responses=documented(400, 413),
)
async def update_run(request: Request[Any, Any, State], parts: Parts) -> UpdateRunReply | dict[str, str]:
    """Events of any number of attempts, each attempt's in sequence; answered with verdicts after the commit.

    The same path takes the callbacks of the comfyui-deploy plugin, in its own words.
    """
    body = await request.body()
    if not body.startswith(_AGENTS):
        answer = await parts.plugin(request, body)
        if answer is not None:
            return answer
    machine_id = await parts.credentials.machine(_bearer(request.headers))
    if machine_id is None:
        raise Unauthorized("the agent's credential is unknown: enrol the machine again")
    try:
        update = _UPDATE.decode(without_nul(body))
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error), code="malformed_json") from error
    try:
        lacking = await _lacking_files(parts.db, parts.files, update.events)
        answers = await parts.ledger.change_all([_change(event, lacking) for event in update.events])
    except Unstorable as error:
        raise Invalid("an event holds an id or a number that is none") from error
    return UpdateRunReply([_result(event, answer) for event, answer in zip(update.events, answers, strict=True)])


async def _lacking_files(db: Database, files: Files, events: list[Event]) -> set[str]:
    """Files that a success names but that are not stored for its attempt."""
    lacking: set[str] = set()
    for event in events:
        wanted = [output.file_id for output in event.outputs if output.file_id is not None]
        if wanted:
            lacking.update(await files.confirm(db, wanted, event.attempt_id))
    return lacking


def _change(event: Event, lacking: set[str]) -> Change:
    status, failure = event.status, event.failure
    if lacking and any(output.file_id in lacking for output in event.outputs):
        status = "failed"
        failure = Failure("upload_failed", "an output was reported that was never stored")
    return Change(
        run_id=event.run_id,
        event=Reported(event.attempt_id, event.seq, status, failure),
        token=event.token,
        outputs=event.outputs,
        timings=event.timings,
    )


def _result(event: Event, answer: Step | Refusal) -> EventResult:
    if isinstance(answer, Step):
        return EventResult(event.attempt_id, event.seq, "applied")
    return EventResult(event.attempt_id, event.seq, answer.verdict, answer.stop, answer.reason)


routes = [enrol, link, update_run]
