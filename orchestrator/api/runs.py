"""Runs under /api/v1/runs: start one, look at it, follow it live, cancel it.

Handlers only translate: what fits is decided in runs/inputs.py, what may change in runs/state.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, Router, get, patch, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from orchestrator import wire
from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.idempotency import OWN
from orchestrator.api.params import NO_NUL, Cursor, Limit, Moment, moment
from orchestrator.api.problems import documented
from orchestrator.api.run_orders import WAITED, order_of, started
from orchestrator.api.run_streams import frames, streamed
from orchestrator.auth import Principal, requires
from orchestrator.errors import BadRequest, Conflict, FieldError, Invalid, NotFound
from orchestrator.files import Files
from orchestrator.live.again import start_again
from orchestrator.live.following import check_room
from orchestrator.live.following import follow as followed
from orchestrator.live.hub import Hub
from orchestrator.live.once import once_of
from orchestrator.live.parts import Parts
from orchestrator.live.shown import signed_outputs
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.schedule import explain
from orchestrator.runs.state import TERMINAL, Cancel
from orchestrator.store import revisions, run_marks, run_pages, runs
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger

Tagged = Annotated[str | None, Parameter(max_length=50, pattern=NO_NUL, description="Only runs with this tag.")]
Described = Annotated[
    list[str] | None, Parameter(description="Only runs with this `name=value` in their metadata; several: all.")
]
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NOBODY: Final = str(UUID(int=0))


@post(
    status_code=202,
    operation_id="create_run",
    summary="Start a run",
    opt=OWN | requires("playground", "runs:write", bound=True),
    responses={**documented(400, 403, 404, 409, 413, 429), **WAITED},
)
async def create(data: wire.RunCreate, request: Request[Principal, Any, State]) -> Response[wire.RunAccepted]:
    """202: the run is stored and will end exactly once, whatever is restarted meanwhile.

    `Prefer: wait=N` answers 200 with the run if it ends within N seconds; `Accept: text/event-stream` follows it.
    """
    order = order_of(
        request.user,
        data,
        deployment_id=data.deployment_id,
        version_id=data.version_id,
        inputs=data.inputs,
        once=await once_of(request),
    )
    return await started(request, request.app.state.services.parts, order)


@get(
    operation_id="list_runs",
    summary="List runs",
    opt=requires("viewer", "runs:read", bound=True),
    responses=documented(400, 403),
)
async def list_runs(
    principal: Principal,
    db: Database,
    cursor: Cursor = None,
    limit: Limit = 20,
    status: Annotated[list[wire.RunStatus] | None, Parameter(description="Only runs in these statuses.")] = None,
    workflow_id: UUID | None = None,
    version_id: UUID | None = None,
    deployment_id: UUID | None = None,
    machine_id: UUID | None = None,
    batch_id: UUID | None = None,
    retry_of: UUID | None = None,
    origin: wire.RunOrigin | None = None,
    created_after: Moment = None,
    created_before: Moment = None,
    favourite: bool | None = None,
    tag: Tagged = None,
    metadata: Described = None,
) -> wire.Page[wire.Run]:
    """Newest first; what is given narrows it. A key that is bound to deployments finds their runs only."""
    filters = run_pages.Filters(
        status=list(status) if status else None,
        workflow_id=_text(workflow_id),
        version_id=_text(version_id),
        deployment_id=_text(deployment_id),
        deployment_ids=None if principal.deployment_ids is None else sorted(principal.deployment_ids),
        machine_id=_text(machine_id),
        batch_id=_text(batch_id),
        retry_of=_text(retry_of),
        origin=origin,
        created_after=moment("created_after", created_after),
        created_before=moment("created_before", created_before),
        favourite=favourite,
        tag=tag,
        metadata=_described(metadata),
    )
    found = await run_pages.page(db, principal.organisation_id, filters, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


def _described(wanted: list[str] | None) -> dict[str, str] | None:
    """`name=value`, any number of times. Raises Invalid."""
    found = {}
    for text in wanted or ():
        name, equals, value = text.partition("=")
        if not equals or not _NAME.fullmatch(name) or "\0" in value:
            message = "looks like name=value; a name has letters, digits, `_`, `.` and `-`"
            raise Invalid(f"metadata {message}", errors=[FieldError("metadata", message)])
        found[name] = value
    return found or None


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


@get(
    "/{run_id:uuid}",
    operation_id="get_run",
    summary="Look at a run",
    opt=requires("playground", "runs:read", bound=True),
    responses={**documented(403, 404), **UNCHANGED},
)
async def get_run(
    run_id: UUID, principal: Principal, db: Database, files: Files, hub: Hub, if_none_match: IfNoneMatch = None
) -> Response[wire.Run]:
    """With its attempts, outputs, live progress, and while it waits the reason why nobody has taken it."""
    organisation_id, wanted = principal.organisation_id, str(run_id)
    noted = await revisions.present(db, "run", organisation_id, wanted)
    run = await own_run(db, principal, run_id)
    run.attempt_list = await runs.attempts_of(db, organisation_id, wanted)
    run.outputs = await signed_outputs(db, files, organisation_id, wanted)
    if run.status == "not-started":
        waiting = await runs.why_waiting(db, organisation_id, wanted)
        again = f"attempt {run.attempts} failed, another follows ({run.failure['message']})" if run.failure else None
        run.waiting_reason = explain(*waiting, again) if waiting else None
    live = hub.progress(wanted)
    if live is not None and run.status not in TERMINAL:
        run.progress, run.progress_text = live.value, live.text
    return tagged(run, noted, if_none_match=if_none_match)


async def own_run(db: Database, principal: Principal, run_id: UUID) -> wire.Run:
    """The run, if the caller may see it. Raises NotFound."""
    made_by = None if principal.may("viewer") else principal.user_id or NOBODY
    run = await runs.get(db, principal.organisation_id, str(run_id), made_by)
    if run is None or not principal.may_run(run.deployment_id):
        raise NotFound(f"there is no run {run_id}", code="run_not_found")
    return run


@get(
    "/{run_id:uuid}/outputs",
    operation_id="list_run_outputs",
    summary="Outputs of a run",
    opt=requires("playground", "runs:read", bound=True),
    responses=documented(403, 404),
)
async def list_outputs(run_id: UUID, principal: Principal, db: Database, files: Files) -> wire.Page[wire.RunOutput]:
    """In node order; empty until the run has succeeded."""
    await own_run(db, principal, run_id)
    return wire.Page(await signed_outputs(db, files, principal.organisation_id, str(run_id)))


@post(
    "/{run_id:uuid}/cancel",
    status_code=200,
    operation_id="cancel_run",
    summary="Cancel a run",
    opt=requires("playground", "runs:write", bound=True),
    responses=documented(403, 404),
)
async def cancel(run_id: UUID, principal: Principal, db: Database, ledger: Ledger) -> wire.Run:
    """Idempotent: a run that has ended stays as it ended. The machine stops working on it at once."""
    await own_run(db, principal, run_id)
    change = Change(str(run_id), Cancel(f"cancelled by {principal.actor}"), principal.organisation_id)  # type: ignore[arg-type]
    await ledger.change(change)
    return await own_run(db, principal, run_id)


@post(
    "/{run_id:uuid}/retry",
    status_code=202,
    operation_id="retry_run",
    summary="Start a run once more",
    opt=requires("playground", "runs:write", bound=True),
    responses=documented(403, 404, 409, 429),
)
async def retry(run_id: UUID, principal: Principal, parts: Parts) -> Response[wire.RunAccepted]:
    """A new run of the same version with the same inputs, once the first has ended; it says `retry_of`."""
    run = await own_run(parts.db, principal, run_id)
    if run.status not in TERMINAL:
        raise Conflict(f"the run is {run.status}: only one that has ended is started again", code="run_not_ended")
    new = await start_again(
        parts,
        principal.organisation_id,
        str(run_id),
        created_by=principal.user_id,
        api_key_id=principal.key_id,
    )
    location = f"/api/v1/runs/{new.id}"
    accepted = wire.RunAccepted(new.id, "not-started", parts.config.base_url + location)
    return Response(accepted, status_code=202, headers={"Location": location})


@patch(
    "/{run_id:uuid}",
    operation_id="update_run_marks",
    summary="Note something about a run",
    opt=requires("playground", "runs:write", bound=True),
    responses=documented(400, 403, 404, 412),
)
async def update(
    run_id: UUID, data: wire.RunUpdate, principal: Principal, db: Database, if_match: IfMatch = None
) -> Response[wire.Run]:
    """Favourite, note and tags; what is left out stays. A favourite is kept whatever its age."""
    await own_run(db, principal, run_id)
    await run_marks.mark(db, principal.organisation_id, str(run_id), data, expected(if_match))
    noted = await revisions.present(db, "run", principal.organisation_id, run_id)
    return tagged(await own_run(db, principal, run_id), noted)


@get(
    "/{run_id:uuid}/events",
    operation_id="follow_run",
    summary="Follow a run live (server-sent events)",
    opt=requires("playground", "runs:read", bound=True),
    media_type="text/event-stream",
    responses=documented(400, 403, 404, 429),
)
async def follow(
    run_id: UUID,
    request: Request[Any, Any, State],
    principal: Principal,
    db: Database,
    hub: Hub,
    logs: Annotated[bool, Parameter(description="Events `log` too: what the executor writes.")] = False,
) -> Stream:
    """Events `status` (wire.RunEvent; id = revision) and `progress` (wire.ProgressEvent); ends with the run.

    `Last-Event-ID` resumes after that revision, so no change of status is ever missed.
    """
    await own_run(db, principal, run_id)
    after = _last_event_id(request.headers.get("last-event-id"))
    check_room(hub, principal.organisation_id)
    draining = request.app.state.draining
    events = followed(db, hub, principal.organisation_id, str(run_id), after=after, draining=draining, logs=logs)
    return streamed(frames(events))


def _last_event_id(header: str | None) -> int:
    if header is None or header == "":
        return 0
    if not header.isdecimal() or len(header) > 9:
        raise BadRequest("Last-Event-ID is not the id of an event of this stream", code="bad_last_event_id")
    return int(header)


routes = [
    Router(
        "/api/v1/runs",
        route_handlers=[create, list_runs, get_run, list_outputs, cancel, retry, update, follow],
        tags=["runs"],
    )
]
