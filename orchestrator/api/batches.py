"""Batches under /api/v1/runs: many runs started by one request, looked at and cancelled together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, get, post
from litestar.datastructures import State

from orchestrator import wire
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.api.run_orders import order_of
from orchestrator.auth import Principal, requires
from orchestrator.errors import NotFound
from orchestrator.live.again import start_batch
from orchestrator.live.parts import Parts
from orchestrator.runs.batches import spread
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.state import Cancel
from orchestrator.store import batches
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger


@post(
    "/batch",
    status_code=202,
    operation_id="create_batch",
    summary="Start many runs",
    opt=requires("playground", "runs:write", bound=True),
    responses=documented(400, 403, 404, 409, 413, 429),
)
async def create(
    data: wire.BatchCreate, request: Request[Principal, Any, State], parts: Parts
) -> Response[wire.BatchAccepted]:
    """All of them or none: one run for each of `inputs`, or for each combination of `input_grid`; 1,000 at most."""
    order = order_of(request.user, data, deployment_id=data.deployment_id, version_id=data.version_id)
    started = await start_batch(parts, order, spread(data.inputs, data.input_grid, data.common_inputs))
    location = f"/api/v1/runs/batches/{started.id}"
    ids = [str(run_id) for run_id in started.run_ids]
    accepted = wire.BatchAccepted(started.id, len(ids), ids, parts.config.base_url + location)
    return Response(accepted, status_code=202, headers={"Location": location})


@get(
    "/batches",
    operation_id="list_batches",
    summary="List batches",
    opt=requires("viewer", "runs:read", bound=True),
    responses=documented(400, 403),
)
async def list_batches(
    principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> wire.Page[wire.Batch]:
    """Newest first. Their runs: `GET /runs?batch_id=`."""
    found = await batches.page(
        db,
        principal.organisation_id,
        before=decode_cursor(cursor),
        limit=limit + 1,
        deployment_ids=None if principal.deployment_ids is None else sorted(principal.deployment_ids),
    )
    return page_of(found, limit)


@get(
    "/batches/{batch_id:uuid}",
    operation_id="get_batch",
    summary="Look at a batch",
    opt=requires("playground", "runs:read", bound=True),
    responses=documented(403, 404),
)
async def get_batch(batch_id: UUID, principal: Principal, db: Database) -> wire.Batch:
    """How many of its runs have which status."""
    return await _own(db, principal, batch_id)


async def _own(db: Database, principal: Principal, batch_id: UUID) -> wire.Batch:
    made_by = None if principal.may("viewer") else principal.user_id or str(UUID(int=0))
    found = await batches.page(db, principal.organisation_id, only=batch_id, made_by=made_by)
    if not found or not principal.may_run(found[0].deployment_id):
        raise NotFound(f"there is no batch {batch_id}", code="batch_not_found")
    return found[0]


@post(
    "/batches/{batch_id:uuid}/cancel",
    status_code=200,
    operation_id="cancel_batch",
    summary="Cancel a batch",
    opt=requires("playground", "runs:write", bound=True),
    responses=documented(403, 404),
)
async def cancel(batch_id: UUID, principal: Principal, db: Database, ledger: Ledger) -> wire.Batch:
    """Every run of it that has not ended; those that have stay as they ended. Idempotent."""
    await _own(db, principal, batch_id)
    reason, organisation_id = Cancel(f"cancelled by {principal.actor}"), principal.organisation_id
    open_runs = await batches.unended(db, organisation_id, batch_id)
    await ledger.apply([Change(run_id, reason, organisation_id) for run_id in open_runs])
    return await _own(db, principal, batch_id)


routes = [Router("/api/v1/runs", route_handlers=[create, list_batches, get_batch, cancel], tags=["runs"])]
