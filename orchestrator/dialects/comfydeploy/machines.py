"""Machines in ComfyDeploy's words: registered by their endpoint, listed, moved, deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import Parameter
from msgspec import Meta, Struct

from drivers.registry import why_absent
from orchestrator.auth import Principal, requires
from orchestrator.errors import Conflict, FieldError, Invalid, NotFound
from orchestrator.live.endpoints import check_endpoint, token_name
from orchestrator.live.secret_values import SecretValues
from orchestrator.store import comfydeploy as store
from orchestrator.store import machines, organisations
from orchestrator.store.db import Database
from orchestrator.vault import Vault
from orchestrator.wire import Machine, MachineCreate, MachineKind, MachineUpdate

Asking = Request[Principal, Any, State]
Limit = Annotated[int, Parameter(ge=1, le=1000)]
Offset = Annotated[int, Parameter(ge=0, le=10_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Url = Annotated[str, Meta(max_length=2000)]
READS: Final = requires("viewer", "machines:read")
WRITES: Final = requires("developer", "machines:write")
MOST: Final = 1000


class Custom(Struct, kw_only=True):
    """Body of POST /api/machine/custom. endpoint_private is ours: an administrator lets it lie at a private address."""

    name: Name
    endpoint: Url
    type: MachineKind = "classic"
    auth_token: str | None = None
    endpoint_private: bool = False


class Moved(Struct, kw_only=True):
    """Body of PATCH /api/machine/custom/{id}: what is left out stays."""

    name: Name | None = None
    endpoint: Url | None = None
    auth_token: str | None = None
    endpoint_private: bool | None = None


class Built(Struct, kw_only=True):
    """Body of POST /api/machine-built."""

    machine_id: str
    endpoint: Url | None = None
    build_log: str | None = None


class MachineRow(Struct):
    """A machine. status is that of a build, in ComfyDeploy's sense; connected is ours: whether it takes runs now."""

    id: str
    name: str
    type: str
    endpoint: str | None
    status: str
    connected: bool
    org_id: str
    created_at: datetime
    updated_at: datetime
    comfyui_version: str | None
    disabled: bool = False
    deleted: bool = False
    user_id: None = None
    gpu: None = None
    machine_version: None = None
    machine_version_id: None = None


def _row(machine: Machine, organisation_id: str) -> MachineRow:
    version = (machine.inventory.get("versions") or {}).get("comfyui")
    return MachineRow(
        id=machine.id,
        name=machine.name,
        type=machine.kind,
        endpoint=machine.endpoint,
        status="ready" if machine.state == "ready" else "not-started",
        connected=machine.connected,
        org_id=organisation_id,
        created_at=machine.created_at,
        updated_at=machine.seen_at or machine.created_at,
        comfyui_version=version or None,
        disabled=machine.state == "draining",
    )


async def _keep_login(db: Database, vault: Vault, principal: Principal, machine_id: str, login: str) -> None:
    """Keep what the endpoint asks for, sealed."""
    organisation_id, actor, name = principal.organisation_id, principal.actor, token_name(machine_id)
    if await SecretValues(db, vault).set(organisation_id, name, login, actor) is None:
        raise Conflict(f"an organisation keeps at most {organisations.MOST_SECRETS} secrets", code="too_many_secrets")


async def _own(db: Database, organisation_id: str, machine_id: UUID) -> MachineRow:
    machine = await machines.get(db, organisation_id, machine_id)
    if machine is None:
        raise NotFound(f"there is no machine {machine_id}", code="machine_not_found")
    return _row(machine, organisation_id)


@get("/machines", opt=READS)
async def list_machines(
    request: Asking,
    db: Database,
    search: Annotated[str, Parameter(max_length=200)] = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[MachineRow]:
    """Machines, newest first."""
    organisation_id = request.user.organisation_id
    found = await machines.page(db, organisation_id, None, MOST)
    chosen = [_row(machine, organisation_id) for machine in found if search.lower() in machine.name.lower()]
    return chosen[offset : offset + limit]


@get("/machines/all", opt=READS)
async def all_machines(request: Asking, db: Database) -> list[MachineRow]:
    """Every machine, newest first."""
    organisation_id = request.user.organisation_id
    return [_row(machine, organisation_id) for machine in await machines.page(db, organisation_id, None, MOST)]


@get("/machine/{machine_id:uuid}", opt=READS)
async def get_machine(machine_id: UUID, request: Asking, db: Database) -> MachineRow:
    """One machine."""
    return await _own(db, request.user.organisation_id, machine_id)


@post("/machine/custom", status_code=200, opt=WRITES)
async def register(data: Custom, request: Asking, db: Database, vault: Vault) -> MachineRow:
    """Register a ComfyUI with the plugin at its endpoint."""
    reason = why_absent(data.type)
    if reason is not None:
        raise Invalid(f"type: {reason}", code="driver_absent", errors=[FieldError("type", reason, "driver_absent")])
    check_endpoint(data.endpoint, private=data.endpoint_private, principal=request.user)
    new = MachineCreate(name=data.name, kind=data.type, endpoint=data.endpoint, endpoint_private=data.endpoint_private)
    organisation_id = request.user.organisation_id
    made = await machines.create(db, organisation_id, new, request.user.actor)
    if data.auth_token:
        await _keep_login(db, vault, request.user, made.id, data.auth_token)
    return _row(made, organisation_id)


@patch("/machine/custom/{machine_id:uuid}", opt=WRITES)
async def change(machine_id: UUID, data: Moved, request: Asking, db: Database, vault: Vault) -> MachineRow:
    """Rename a machine, or point it at another endpoint."""
    organisation_id, actor = request.user.organisation_id, request.user.actor
    present = await machines.get(db, organisation_id, machine_id)
    if present is None:
        raise NotFound(f"there is no machine {machine_id}", code="machine_not_found")
    if data.endpoint is not None:
        await _move(db, request.user, machine_id, data.endpoint, private=data.endpoint_private)
    if data.auth_token:
        await _keep_login(db, vault, request.user, str(machine_id), data.auth_token)
    if data.name is not None:
        await machines.update(db, organisation_id, machine_id, MachineUpdate(name=data.name), actor)
    return await _own(db, organisation_id, machine_id)


async def _move(db: Database, principal: Principal, machine_id: UUID, endpoint: str, *, private: bool | None) -> None:
    present = await machines.get(db, principal.organisation_id, machine_id)
    if present is None:
        raise NotFound(f"there is no machine {machine_id}", code="machine_not_found")
    wanted = present.endpoint_private if private is None else private
    check_endpoint(endpoint, private=wanted, principal=principal)
    organisation_id, actor = principal.organisation_id, principal.actor
    if not await store.move_machine(db, organisation_id, machine_id, endpoint, actor, private=private):
        message = "the machine has an agent of its own, and no endpoint"
        raise Invalid(f"endpoint: {message}", errors=[FieldError("endpoint", message)])
    if endpoint != present.endpoint:  # its login was meant for where it lay before
        await organisations.delete_secret(db, organisation_id, token_name(present.id), actor)


@delete("/machine/{machine_id:uuid}", status_code=200, opt=WRITES)
async def remove(machine_id: UUID, request: Asking, db: Database, force: bool = False) -> dict[str, str]:
    """Forget a machine. Refused while it works, unless forced."""
    organisation_id, actor = request.user.organisation_id, request.user.actor
    if not await machines.delete(db, organisation_id, machine_id, force=force, actor=actor):
        raise NotFound(f"there is no machine {machine_id}", code="machine_not_found")
    return {"message": "success"}


@post("/machine-built", status_code=200, opt=WRITES)
async def built(data: Built, request: Asking, db: Database) -> dict[str, str]:
    """A builder says where a machine stands now: with a key of the machine's team, never by its id alone."""
    try:
        machine_id = UUID(data.machine_id)
    except ValueError:
        raise NotFound(f"there is no machine {data.machine_id[:64]!r}", code="machine_not_found") from None
    await _own(db, request.user.organisation_id, machine_id)
    if data.endpoint is not None:
        await _move(db, request.user, machine_id, data.endpoint, private=None)
    return {"message": "success"}


handlers: Final = [list_machines, all_machines, get_machine, register, change, remove, built]
