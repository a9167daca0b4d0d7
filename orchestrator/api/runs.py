"""Runs under /api/v1/runs: start one, look at it, follow it live, cancel it.

Handlers only translate: what fits is decided in runs/inputs.py, what may change in runs/state.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from orchestrator import wire
from orchestrator.api.idempotency import OWN
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import BadRequest, FieldError, Invalid, NotFound
from orchestrator.files import Files
from orchestrator.live.hub import Hub, Subscription, TooSlow
from orchestrator.live.once import REPLAYED, once_of
from orchestrator.live.parts import Parts
from orchestrator.live.shown import signed_outputs
from orchestrator.live.starting import Order, start
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.schedule import explain
from orchestrator.runs.state import TERMINAL, Cancel
from orchestrator.store import runs
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger

KEEP_ALIVE_S: Final = 15.0
RECHECK_S: Final = 2.0
NOBODY: Final = str(UUID(int=0))


@post(
    status_code=202,
    operation_id="create_run",
    summary="Start a run",
    guards=[requires("playground", "runs:write", bound=True)],
    opt=OWN,
    responses=documented(400, 403, 404, 409, 413),
)
async def create(
    data: wire.RunCreate, request: Request[Principal, Any, State], parts: Parts
) -> Response[wire.RunAccepted]:
    """202: the run is stored and will end exactly once, whatever is restarted meanwhile."""
    principal = request.user
    if data.version_id is not None and not principal.may("developer"):
        raise Invalid("this role runs deployments only", errors=[FieldError("version_id", "use deployment_id")])
    principal.check_run(data.deployment_id)
    run = await start(
        parts,
        Order(
            organisation_id=principal.organisation_id,
            deployment_id=data.deployment_id,
            version_id=data.version_id,
            created_by=principal.user_id,
            inputs=data.inputs,
            webhook_url=data.webhook_url,
            priority=data.priority,
            pool=data.pool,
            timeout_s=data.timeout_s,
            max_attempts=data.max_attempts,
            once=await once_of(request),
        ),
    )
    location = f"/api/v1/runs/{run.id}"
    accepted = wire.RunAccepted(run.id, "not-started", parts.config.base_url + location)
    headers = {"Location": location} | ({REPLAYED: "true"} if run.replayed else {})
    return Response(accepted, status_code=202, headers=headers)


@get(
    operation_id="list_runs",
    summary="List runs",
    guards=[requires("viewer", "runs:read")],
    responses=documented(400, 403),
)
async def list_runs(
    principal: Principal,
    db: Database,
    cursor: Cursor = None,
    limit: Limit = 20,
    status: Annotated[list[wire.RunStatus] | None, Parameter(description="Only runs in these statuses.")] = None,
    deployment_id: UUID | None = None,
    machine_id: UUID | None = None,
) -> wire.Page[wire.Run]:
    """Newest first."""
    found = await runs.page(
        db,
        principal.organisation_id,
        status=list(status) if status else None,
        deployment_id=_text(deployment_id),
        machine_id=_text(machine_id),
        before=_text(decode_cursor(cursor)),
        limit=limit + 1,
    )
    return page_of(found, limit)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


@get(
    "/{run_id:uuid}",
    operation_id="get_run",
    summary="Look at a run",
    guards=[requires("playground", "runs:read", bound=True)],
    responses=documented(403, 404),
)
async def get_run(run_id: UUID, principal: Principal, db: Database, files: Files, hub: Hub) -> wire.Run:
    """With its attempts, outputs, live progress, and while it waits the reason why nobody has taken it."""
    organisation_id, wanted = principal.organisation_id, str(run_id)
    run = await _own(db, principal, run_id)
    run.attempt_list = await runs.attempts_of(db, organisation_id, wanted)
    run.outputs = await signed_outputs(db, files, organisation_id, wanted)
    if run.status == "not-started":
        waiting = await runs.why_waiting(db, organisation_id, wanted)
        again = f"attempt {run.attempts} failed, another follows ({run.failure['message']})" if run.failure else None
        run.waiting_reason = explain(*waiting, again) if waiting else None
    live = hub.progress(wanted)
    if live is not None and run.status not in TERMINAL:
        run.progress, run.progress_text = live.value, live.text
    return run


async def _own(db: Database, principal: Principal, run_id: UUID) -> wire.Run:
    made_by = None if principal.may("viewer") else principal.user_id or NOBODY
    run = await runs.get(db, principal.organisation_id, str(run_id), made_by)
    if run is None or not principal.may_run(run.deployment_id):
        raise NotFound(f"there is no run {run_id}", code="run_not_found")
    return run


@get(
    "/{run_id:uuid}/outputs",
    operation_id="list_run_outputs",
    summary="Outputs of a run",
    guards=[requires("playground", "runs:read", bound=True)],
    responses=documented(403, 404),
)
async def list_outputs(run_id: UUID, principal: Principal, db: Database, files: Files) -> wire.Page[wire.RunOutput]:
    """In node order; empty until the run has succeeded."""
    await _own(db, principal, run_id)
    return wire.Page(await signed_outputs(db, files, principal.organisation_id, str(run_id)))


@post(
    "/{run_id:uuid}/cancel",
    status_code=200,
    operation_id="cancel_run",
    summary="Cancel a run",
    guards=[requires("playground", "runs:write", bound=True)],
    responses=documented(403, 404),
)
async def cancel(run_id: UUID, principal: Principal, db: Database, ledger: Ledger) -> wire.Run:
    """Idempotent: a run that has ended stays as it ended. The machine stops working on it at once."""
    await _own(db, principal, run_id)
    change = Change(str(run_id), Cancel(f"cancelled by {principal.actor}"), principal.organisation_id)  # type: ignore[arg-type]
    await ledger.change(change)
    return await _own(db, principal, run_id)


@get(
    "/{run_id:uuid}/events",
    operation_id="follow_run",
    summary="Follow a run live (server-sent events)",
    guards=[requires("playground", "runs:read", bound=True)],
    media_type="text/event-stream",
    responses=documented(400, 403, 404),
)
async def follow(
    run_id: UUID, request: Request[Any, Any, State], principal: Principal, db: Database, hub: Hub
) -> Stream:
    """Events `status` (wire.RunEvent; id = revision) and `progress` (wire.ProgressEvent); ends with the run.

    `Last-Event-ID` resumes after that revision, so no change of status is ever missed.
    """
    await _own(db, principal, run_id)
    after = _last_event_id(request.headers.get("last-event-id"))
    stream = _events(db, hub, principal.organisation_id, str(run_id), after, request.app.state.draining)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(stream, media_type="text/event-stream", headers=headers)


def _last_event_id(header: str | None) -> int:
    if header is None or header == "":
        return 0
    if not header.isdecimal() or len(header) > 9:
        raise BadRequest("Last-Event-ID is not the id of an event of this stream", code="bad_last_event_id")
    return int(header)


async def _events(
    db: Database, hub: Hub, organisation_id: str, run_id: str, after: int, draining: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """What happened after the revision, then what happens.

    The database is the truth: it is asked first, when a change was missed, and now and then.
    """
    yield b"retry: 1000\n\n"
    with hub.subscribe(organisation_id, run_id) as subscription:
        quiet = 0.0
        stored = await runs.events_after(db, organisation_id, run_id, after)
        while not draining.is_set():
            for event in stored:
                after, quiet = event.revision, 0.0
                yield _frame("status", event, event.revision)
                if event.status in TERMINAL:
                    return
            changes, live = await _next(subscription, after)
            stored = await runs.events_after(db, organisation_id, run_id, after) if changes is None else changes
            if live is not None:
                yield _frame("progress", live, None)
            elif not stored and (quiet := quiet + RECHECK_S) >= KEEP_ALIVE_S:
                quiet = 0.0
                yield b": still here\n\n"


async def _next(subscription: Subscription, after: int) -> tuple[list[wire.RunEvent] | None, wire.ProgressEvent | None]:
    """The next change or progress; None instead of changes means: ask the database."""
    try:
        live = await subscription.next(RECHECK_S)
    except TooSlow:
        return None, None
    if isinstance(live, wire.ProgressEvent):
        return [], live
    if live is None or live.revision > after + 1:
        return None, None
    return ([live] if live.revision > after else []), None


def _frame(name: str, event: wire.RunEvent | wire.ProgressEvent, event_id: int | None) -> bytes:
    prefix = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%sevent: %s\ndata: %s\n\n" % (prefix, name.encode(), msgspec.json.encode(event))


routes = [
    Router("/api/v1/runs", route_handlers=[create, list_runs, get_run, list_outputs, cancel, follow], tags=["runs"])
]
