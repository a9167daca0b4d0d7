"""What can be asked about a run besides its state: its logs, where its time went, why it is where it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from litestar import Router, get
from litestar.params import Parameter

from orchestrator import wire
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.api.runs import own_run
from orchestrator.auth import Principal, requires
from orchestrator.runs import schedule
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.timeline import timeline
from orchestrator.store import run_logs, runs
from orchestrator.store.db import Database

MOST_MACHINES: Final = 100

AttemptNumber = Annotated[int | None, Parameter(ge=1, le=1000, description="Only lines of this attempt.")]


@get(
    "/{run_id:uuid}/logs",
    operation_id="list_run_logs",
    summary="What the executor wrote",
    opt=requires("playground", "runs:read", bound=True),
    responses=documented(400, 403, 404),
)
async def logs(
    run_id: UUID,
    principal: Principal,
    db: Database,
    cursor: Cursor = None,
    limit: Limit = 20,
    attempt: AttemptNumber = None,
) -> wire.Page[wire.LogPart]:
    """In parts of some lines, oldest first; about half a megabyte is kept of each attempt."""
    await own_run(db, principal, run_id)
    found = await run_logs.page(
        db, principal.organisation_id, run_id, attempt=attempt, after=decode_cursor(cursor), limit=limit + 1
    )
    return page_of(found, limit)


@get(
    "/{run_id:uuid}/timeline",
    operation_id="get_run_timeline",
    summary="Where a run's time went",
    opt=requires("playground", "runs:read", bound=True),
    responses=documented(403, 404),
)
async def get_timeline(run_id: UUID, principal: Principal, db: Database) -> wire.Timeline:
    """Each attempt's phases, the wait before it among them, with what its machine measured."""
    await own_run(db, principal, run_id)
    organisation_id = principal.organisation_id
    history = await runs.events_after(db, organisation_id, str(run_id), 0)
    return timeline(history, await runs.attempts_of(db, organisation_id, str(run_id)), datetime.now(UTC))


@get(
    "/{run_id:uuid}/placement",
    operation_id="get_run_placement",
    summary="Why a run is where it is, or why it waits",
    opt=requires("playground", "runs:read", bound=True),
    responses=documented(403, 404),
)
async def placement(run_id: UUID, principal: Principal, db: Database) -> wire.Placement:
    """For one that waits, what each machine lacks for it; else what counted when its machine was chosen."""
    run = await own_run(db, principal, run_id)
    if run.status != "not-started":
        return await _placed(db, principal, run)
    fits = await runs.fits(db, principal.organisation_id, run.id)
    lacking = [(fit.name, fit.lacks) for fit in fits if fit.lacks is not None]
    reason = schedule.explain(lacking, len(fits), _again(run))
    shown = sorted(fits, key=lambda fit: not fit.fits)[:MOST_MACHINES]
    return wire.Placement(run.id, run.status, reason, run.attempts, machines=shown)


def _again(run: wire.Run) -> str | None:
    if run.failure is None:
        return None
    return f"attempt {run.attempts} failed, another follows ({run.failure['message']})"


async def _placed(db: Database, principal: Principal, run: wire.Run) -> wire.Placement:
    if run.machine_id is None:
        return wire.Placement(run.id, run.status, "it ended before any machine took it")
    why = await runs.placement_of(db, principal.organisation_id, run.id)
    name = run.machine_name or run.machine_id
    return wire.Placement(
        run.id, run.status, schedule.explain_choice(name, why), run.attempts, run.machine_id, name, why
    )


routes = [Router("/api/v1/runs", route_handlers=[logs, get_timeline, placement], tags=["runs"])]
