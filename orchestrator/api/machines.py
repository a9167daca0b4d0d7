"""Machines under /api/v1/machines: register, enrol, list, change, drain, delete."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from litestar import Response, Router, delete, get, patch, post
from litestar.params import Parameter

from drivers.registry import why_absent
from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.errors import Conflict, FieldError, Invalid, NotFound
from orchestrator.live.endpoints import check_endpoint
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import machines, revisions
from orchestrator.store.db import Database
from orchestrator.store.ids import digest, token
from orchestrator.wire import EnrolToken, Machine, MachineCreate, MachineUpdate, Page

ENROL_TOKEN_LIFE = timedelta(hours=1)

Force = Annotated[bool, Parameter(description="Delete it although it holds attempts; they go to other machines.")]


def _absent(machine_id: UUID) -> NotFound:
    return NotFound(f"there is no machine {machine_id}", code="machine_not_found")


@post(
    opt=requires("developer", "machines:write"),
    operation_id="create_machine",
    summary="Register a machine",
    responses=documented(400, 403, 409),
)
async def create(data: MachineCreate, principal: Principal, db: Database) -> Machine:
    """The machine is pending until its agent enrols with a token (POST /machines/{id}/enrol-token)."""
    reason = why_absent(data.kind)
    if reason is not None:
        error = FieldError("kind", reason, "driver_absent")
        raise Invalid(f"machines of kind {data.kind} cannot be used: {reason}", code="driver_absent", errors=[error])
    if data.endpoint is not None:
        check_endpoint(data.endpoint, private=data.endpoint_private, principal=principal)
    return await machines.create(db, principal.organisation_id, data, principal.actor)


@get(
    operation_id="list_machines",
    summary="List machines",
    responses=documented(400, 403),
    opt=requires("viewer", "machines:read"),
)
async def list_machines(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[Machine]:
    """Newest first, with whether each is connected and how many of its slots are in use."""
    return page_of(await machines.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1), limit)


@get(
    "/{machine_id:uuid}",
    operation_id="get_machine",
    summary="One machine",
    responses={**documented(403, 404), **UNCHANGED},
    opt=requires("viewer", "machines:read"),
)
async def get_machine(
    machine_id: UUID, principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[Machine]:
    """One machine with the inventory its agent reported; its ETag names this state of it."""
    return await _tagged(db, principal, machine_id, if_none_match)


async def _tagged(
    db: Database, principal: Principal, machine_id: UUID, if_none_match: str | None = None
) -> Response[Machine]:
    revision = await revisions.present(db, "machine", principal.organisation_id, machine_id)
    return tagged(await shown_machine(db, principal, machine_id), revision, if_none_match=if_none_match)


async def shown_machine(db: Database, principal: Principal, machine_id: UUID) -> Machine:
    """The machine. Raises NotFound."""
    machine = await machines.get(db, principal.organisation_id, machine_id)
    if machine is None:
        raise _absent(machine_id)
    return machine


@patch(
    "/{machine_id:uuid}",
    opt=requires("developer", "machines:write"),
    operation_id="update_machine",
    summary="Change a machine",
    responses=documented(400, 403, 404, 409, 412),
)
async def update(
    machine_id: UUID,
    data: MachineUpdate,
    principal: Principal,
    db: Database,
    on_machine_changed: Callable[[str], None],
    if_match: IfMatch = None,
) -> Response[Machine]:
    """Change its name, labels or policy; what is left out stays. What it works on goes on."""
    seen = expected(if_match)
    if not await machines.update(db, principal.organisation_id, machine_id, data, principal.actor, seen):
        raise _absent(machine_id)
    on_machine_changed(str(machine_id))
    return await _tagged(db, principal, machine_id)


@post(
    "/{machine_id:uuid}/enrol-token",
    opt=requires("developer", "machines:write"),
    operation_id="create_enrol_token",
    summary="Make a one-time enrol token",
    responses=documented(403, 404),
)
async def enrol_token(machine_id: UUID, principal: Principal, db: Database, config: Config) -> EnrolToken:
    """The token works once, for an hour. `command` starts the agent on the machine it is for."""
    secret = token("cfe")
    expires_at = datetime.now(UTC) + ENROL_TOKEN_LIFE
    if not await machines.add_enrol_token(
        db, principal.organisation_id, machine_id, digest(secret), expires_at, principal.actor
    ):
        raise _absent(machine_id)
    url = shlex.quote(config.base_url)
    command = f"python -m machine_agent run --url {url} --enrol-token {shlex.quote(secret)}"
    return EnrolToken(secret, str(machine_id), expires_at, command)


async def _drain(
    machine_id: UUID, principal: Principal, db: Database, on_machine_changed: Callable[[str], None], *, on: bool
) -> Machine:
    if not await machines.set_draining(db, principal.organisation_id, machine_id, on=on, actor=principal.actor):
        machine = await shown_machine(db, principal, machine_id)
        raise Conflict(f"the machine is {machine.state}: release it first", code="machine_quarantined")
    on_machine_changed(str(machine_id))
    return await shown_machine(db, principal, machine_id)


@post(
    "/{machine_id:uuid}/drain",
    status_code=200,
    opt=requires("developer", "machines:write"),
    operation_id="drain_machine",
    summary="Let it finish, give it nothing more",
    responses=documented(403, 404, 409),
)
async def drain(
    machine_id: UUID, principal: Principal, db: Database, on_machine_changed: Callable[[str], None]
) -> Machine:
    """It finishes what it holds and is given nothing more until it is undrained."""
    return await _drain(machine_id, principal, db, on_machine_changed, on=True)


@post(
    "/{machine_id:uuid}/undrain",
    status_code=200,
    opt=requires("developer", "machines:write"),
    operation_id="undrain_machine",
    summary="Give it runs again",
    responses=documented(403, 404, 409),
)
async def undrain(
    machine_id: UUID, principal: Principal, db: Database, on_machine_changed: Callable[[str], None]
) -> Machine:
    """It is given runs again."""
    return await _drain(machine_id, principal, db, on_machine_changed, on=False)


@delete(
    "/{machine_id:uuid}",
    status_code=204,
    opt=requires("developer", "machines:write"),
    operation_id="delete_machine",
    summary="Delete a machine",
    responses=documented(403, 404, 409, 412),
)
async def delete_machine(
    machine_id: UUID,
    principal: Principal,
    db: Database,
    on_machine_changed: Callable[[str], None],
    force: Force = False,
    if_match: IfMatch = None,
) -> None:
    """Forget it and lock its agent out. Refused while it holds attempts, unless forced."""
    seen, organisation_id = expected(if_match), principal.organisation_id
    if not await machines.delete(db, organisation_id, machine_id, force=force, actor=principal.actor, expected=seen):
        raise _absent(machine_id)
    on_machine_changed(str(machine_id))


routes = [
    Router(
        "/api/v1/machines",
        route_handlers=[create, list_machines, get_machine, update, enrol_token, drain, undrain, delete_machine],
        opt=requires("viewer"),
        tags=["machines"],
    )
]
