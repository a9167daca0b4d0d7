"""Progress and logs of runs as server-sent events, in ComfyDeploy's words. A run's stream tells of that run only."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.response import Stream

from orchestrator.auth import Principal, requires
from orchestrator.dialects.comfydeploy.runs import STREAM_HEADERS, own, shown
from orchestrator.errors import FieldError, Forbidden, Invalid
from orchestrator.live.following import RECHECK_S, follow
from orchestrator.live.hub import Hub, LiveEvent, TooSlow
from orchestrator.live.parts import Parts
from orchestrator.runs.state import TERMINAL
from orchestrator.store import comfydeploy as store
from orchestrator.wire import LogPart, ProgressEvent, RunEvent, RunStatus

Asking = Request[Principal, Any, State]
READS: Final = requires("playground", "runs:read", bound=True)
NOTHING: Final = b": still here\n\n"


def _frame(data: Any) -> bytes:
    return b"data: %s\n\n" % msgspec.json.encode(data)


def _stream(body: AsyncGenerator[bytes]) -> Stream:
    return Stream(body, status_code=200, media_type="text/event-stream", headers=STREAM_HEADERS)


@get("/v2/stream-progress", opt=READS)
async def stream_progress(
    request: Asking,
    parts: Parts,
    hub: Hub,
    run_id: UUID | None = None,
    workflow_id: UUID | None = None,
    machine_id: UUID | None = None,
    deployment_id: UUID | None = None,
    status: RunStatus | None = None,
    return_run: bool = False,
) -> Stream:
    """Exactly one of run_id, workflow_id and machine_id. The stream of a run ends with it."""
    if sum(wanted is not None for wanted in (run_id, workflow_id, machine_id)) != 1:
        message = "give exactly one of run_id, workflow_id and machine_id"
        raise Invalid(message, errors=[FieldError("run_id", message)])
    if run_id is not None:
        row = await own(parts.db, request.user, run_id)
        return _stream(_of_run(request, parts, hub, row, return_run))
    if not request.user.may("viewer") or request.user.deployment_ids is not None:
        raise Forbidden("this credential follows its own runs only: give run_id")
    wanted = {"workflow_id": workflow_id, "machine_id": machine_id, "deployment_id": deployment_id}
    chosen = {name: str(value) for name, value in wanted.items() if value is not None}
    return _stream(_of_all(request, parts, hub, chosen, status))


async def _of_run(
    request: Asking, parts: Parts, hub: Hub, row: store.RunRow, return_run: bool
) -> AsyncGenerator[bytes]:
    organisation_id = request.user.organisation_id
    yield _frame({"type": "connection_established"})
    yield _frame({"type": "subscribed"})
    events = follow(parts.db, hub, organisation_id, row.id, after=0, draining=request.app.state.draining)
    status, progress = row.status, 0.0
    async with aclosing(events):
        async for event in events:
            if isinstance(event, RunEvent):
                status = event.status
            elif isinstance(event, ProgressEvent):
                progress = event.value
            else:
                yield NOTHING
                continue
            if return_run:
                yield _frame(await shown(request.user, parts, hub, UUID(row.id)))
            else:
                yield _frame(_told(row, status, 1.0 if status == "success" else progress, event))


def _told(row: store.RunRow, status: str, progress: float, event: LiveEvent) -> dict[str, Any]:
    moved = event.machine_id if isinstance(event, RunEvent) else None
    return {
        "run_id": row.id,
        "workflow_id": row.workflow_id,
        "machine_id": moved or row.machine_id,
        "progress": progress,
        "status": status,
        "node_class": event.node_type if isinstance(event, ProgressEvent) else None,
        "timestamp": datetime.now(UTC),
    }


async def _of_all(
    request: Asking, parts: Parts, hub: Hub, chosen: dict[str, str], status: str | None
) -> AsyncGenerator[bytes]:
    """Every run of the team that is as chosen, until the client goes."""
    organisation_id, draining = request.user.organisation_id, request.app.state.draining
    yield _frame({"type": "connection_established"})
    yield _frame({"type": "subscribed"})
    with hub.subscribe(organisation_id) as subscription:
        while not draining.is_set():
            try:
                event = await subscription.next(RECHECK_S)
            except TooSlow:
                return
            if not isinstance(event, RunEvent | ProgressEvent):
                yield NOTHING
                continue
            row = await store.run(parts.db, organisation_id, event.run_id)
            now = event.status if isinstance(event, RunEvent) else row.status if row else ""
            fits = row is not None and all(getattr(row, name) == value for name, value in chosen.items())
            if row is not None and fits and status in (None, now):
                done = event.value if isinstance(event, ProgressEvent) else float(now == "success")
                yield _frame(_told(row, now, done, event))


@get("/v2/stream-logs", opt=READS)
async def stream_logs(request: Asking, parts: Parts, hub: Hub, run_id: UUID) -> Stream:
    """What the run's executor writes, from now until the run ends."""
    row = await own(parts.db, request.user, run_id)
    return _stream(_logs(request, parts, hub, row.id))


async def _logs(request: Asking, parts: Parts, hub: Hub, run_id: str) -> AsyncGenerator[bytes]:
    organisation_id, draining = request.user.organisation_id, request.app.state.draining
    events = follow(parts.db, hub, organisation_id, run_id, after=0, draining=draining, logs=True)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, LogPart):
                for line in event.lines:
                    yield _frame({"message": line, "level": "info", "timestamp": event.at})
            elif isinstance(event, RunEvent) and event.status in TERMINAL:
                yield _frame({"type": "stream_complete", "source": "run"})
            elif event is None:
                yield NOTHING


handlers: Final = [stream_progress, stream_logs]
