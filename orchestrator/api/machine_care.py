"""Quarantine, events, logs and versions of machines under /api/v1/machines."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from litestar import Router, get, post

from orchestrator.api.machines import shown_machine
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import NotFound
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import machine_versions, run_logs
from orchestrator.store import quarantine as store
from orchestrator.store.db import Database
from orchestrator.wire import Machine, MachineEvent, MachineLogPart, MachineVersion, Page, Quarantine


@post(
    "/{machine_id:uuid}/quarantine",
    status_code=200,
    opt=requires("developer", "machines:write"),
    operation_id="quarantine_machine",
    summary="Take it out of use",
    responses=documented(400, 403, 404),
)
async def quarantine(
    machine_id: UUID,
    data: Quarantine,
    principal: Principal,
    db: Database,
    on_machine_changed: Callable[[str], None],
) -> Machine:
    """It finishes what it holds and is given nothing more until it is released, whoever drains or undrains it."""
    await store.by_hand(db, principal.organisation_id, machine_id, data.reason, principal.actor)
    on_machine_changed(str(machine_id))
    return await shown_machine(db, principal, machine_id)


@post(
    "/{machine_id:uuid}/release",
    status_code=200,
    opt=requires("developer", "machines:write"),
    operation_id="release_machine",
    summary="Let it take runs again",
    responses=documented(403, 404),
)
async def release(
    machine_id: UUID, principal: Principal, db: Database, on_machine_changed: Callable[[str], None]
) -> Machine:
    """Ends a quarantine; a machine that is in none stays as it is."""
    await store.release(db, principal.organisation_id, machine_id, principal.actor)
    on_machine_changed(str(machine_id))
    return await shown_machine(db, principal, machine_id)


@get(
    "/{machine_id:uuid}/events",
    opt=requires("viewer", "machines:read"),
    operation_id="list_machine_events",
    summary="What happened to it",
    responses=documented(400, 403, 404),
)
async def events(
    machine_id: UUID, principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[MachineEvent]:
    """Newest first; the newest thousand are kept."""
    await shown_machine(db, principal, machine_id)
    found = await store.events(db, principal.organisation_id, machine_id, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


@get(
    "/{machine_id:uuid}/logs",
    opt=requires("developer", "machines:read"),
    operation_id="list_machine_logs",
    summary="What its agent wrote",
    responses=documented(400, 403, 404),
)
async def logs(
    machine_id: UUID, principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[MachineLogPart]:
    """In parts of some lines, newest first; the newest 300 parts are kept. A run's own lines are the run's."""
    await shown_machine(db, principal, machine_id)
    found = await run_logs.own_page(db, principal.organisation_id, machine_id, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


@get(
    "/{machine_id:uuid}/versions",
    opt=requires("viewer", "machines:read"),
    operation_id="list_machine_versions",
    summary="What it was",
    responses=documented(400, 403, 404),
)
async def list_versions(
    machine_id: UUID, principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[MachineVersion]:
    """Newest first, without their inventories; the newest hundred are kept."""
    await shown_machine(db, principal, machine_id)
    found = await machine_versions.page(db, principal.organisation_id, machine_id, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


@get(
    "/{machine_id:uuid}/versions/{number:int}",
    opt=requires("viewer", "machines:read"),
    operation_id="get_machine_version",
    summary="What it was once",
    responses=documented(403, 404),
)
async def get_version(machine_id: UUID, number: int, principal: Principal, db: Database) -> MachineVersion:
    """With the inventory of then."""
    found = None
    if 0 < number < 2**31:
        found = await machine_versions.get(db, principal.organisation_id, machine_id, number)
    if found is None:
        raise NotFound(f"the machine has no version {number}", code="version_not_found")
    return found


routes = [
    Router(
        "/api/v1/machines",
        route_handlers=[quarantine, release, events, logs, list_versions, get_version],
        tags=["machines"],
    )
]
