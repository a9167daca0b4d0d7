"""Secrets of machines under /api/v1/machines/{id}/secrets: names and fingerprints come out, values go in only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from litestar import Router, delete, get, put
from litestar.params import Parameter

from drivers import environment
from orchestrator.api.machines import shown_machine
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import Conflict, NotFound
from orchestrator.live.machine_secrets import MachineSecrets, check
from orchestrator.store import machine_secrets as store
from orchestrator.store.db import Database
from orchestrator.vault import Vault
from orchestrator.wire import MachineSecret, MachineSecretSet, Page

Name = Annotated[str, Parameter(pattern=environment.NAME, description="Of the environment variable.")]


@get(
    "/{machine_id:uuid}/secrets",
    operation_id="list_machine_secrets",
    summary="Names of its secrets",
    opt=requires("developer", "machines:read"),
    responses=documented(403, 404),
)
async def list_secrets(machine_id: UUID, principal: Principal, db: Database) -> Page[MachineSecret]:
    """By name, never with their values; all on one page."""
    await shown_machine(db, principal, machine_id)
    return Page(await store.listed(db, principal.organisation_id, machine_id))


@put(
    "/{machine_id:uuid}/secrets/{name:str}",
    operation_id="put_machine_secret",
    summary="Give it a secret",
    opt=requires("admin", "machines:write"),
    responses=documented(400, 403, 404, 409),
)
async def put_secret(
    machine_id: UUID,
    name: Name,
    data: MachineSecretSet,
    principal: Principal,
    db: Database,
    vault: Vault,
    on_machine_changed: Callable[[str], None],
) -> MachineSecret:
    """Kept encrypted, and given to the machine's executors as an environment variable of that name.

    An executor that is idle is started afresh at once, one that works as soon as its run has ended.
    """
    check(name, data.value)
    machine = await shown_machine(db, principal, machine_id)
    if machine.endpoint is not None:
        raise Conflict("its ComfyUI is not started by an agent, which would give it secrets", code="machine_not_ours")
    secrets = MachineSecrets(db, vault)
    made = await secrets.set(principal.organisation_id, str(machine_id), name, data.value, principal.actor)
    if made is None:
        raise Conflict(f"a machine keeps at most {store.MOST} secrets", code="too_many_secrets")
    on_machine_changed(str(machine_id))
    return made


@delete(
    "/{machine_id:uuid}/secrets/{name:str}",
    status_code=204,
    operation_id="delete_machine_secret",
    summary="Take a secret from it",
    opt=requires("admin", "machines:write"),
    responses=documented(403, 404),
)
async def delete_secret(
    machine_id: UUID, name: Name, principal: Principal, db: Database, on_machine_changed: Callable[[str], None]
) -> None:
    """Its executors are started afresh without it."""
    if not await store.delete(db, principal.organisation_id, machine_id, name, principal.actor):
        raise NotFound(f"the machine has no secret {name}", code="secret_not_found")
    on_machine_changed(str(machine_id))


routes = [Router("/api/v1/machines", route_handlers=[list_secrets, put_secret, delete_secret], tags=["machines"])]
