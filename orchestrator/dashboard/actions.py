"""What a reader may do from a page: machines added, drained, deleted; runs cancelled. Forms in, redirects out.

Every change goes through the functions that the API uses. It knows no SQL.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, post
from litestar.response import Redirect, Template

from drivers.wire import RunId
from orchestrator.auth import requires
from orchestrator.dashboard.desk import Desk, local_path, uuid_of
from orchestrator.dashboard.pages import machines_view
from orchestrator.dashboard.session import same_origin
from orchestrator.errors import ApiProblem, BadRequest, Conflict, NotFound
from orchestrator.runs.state import Cancel, Refusal
from orchestrator.store import machines
from orchestrator.store.ids import digest, token
from orchestrator.store.ledger import Change, Ledger
from orchestrator.wire import MachineCreate

ENROL_TOKEN_LIFE: Final = timedelta(hours=1)
CHANGES: Final[dict[str, Any]] = {"opt": requires("developer"), "guards": [same_origin]}
AnyRequest = Request[Any, Any, Any]
Told = Callable[[str], None]


@post("/machines", **CHANGES, status_code=200, include_in_schema=False)
async def add_machine(request: AnyRequest, desk: Desk) -> Template:
    """Register a machine and show, once, the command that starts its agent."""
    form = await request.form()
    try:
        new = _new_machine(str(form.get("name", "")), str(form.get("labels", "")))
        made = await machines.create(desk.db, desk.organisation_id, new, desk.principal.actor)
    except ApiProblem as problem:
        return await machines_view(request, desk, problem.status, error=problem.detail)
    return await _with_command(request, desk, UUID(made.id), made.name)


def _new_machine(name: str, labels: str) -> MachineCreate:
    """The form as the API's own Struct. Raises BadRequest with a sentence for the reader."""
    pairs = [part.partition("=") for part in labels.replace("\x00", "").split(",") if part.strip()]
    if any(not key.strip() or not sign for key, sign, _ in pairs):
        raise BadRequest("Write labels as name=value, with commas between them.")
    values = {key.strip(): value.strip() for key, _, value in pairs}
    try:
        return msgspec.convert({"name": name.replace("\x00", "").strip(), "labels": values}, MachineCreate)
    except msgspec.ValidationError:
        raise BadRequest("A name needs 1 to 200 characters, a label at most 200.") from None


@post("/machines/{machine_id:str}/enrol", **CHANGES, status_code=200, include_in_schema=False)
async def enrol_machine(request: AnyRequest, desk: Desk, machine_id: str) -> Template:
    """Another one-time command for a machine whose agent has not come."""
    machine = await machines.get(desk.db, desk.organisation_id, uuid_of(machine_id))
    if machine is None:
        raise NotFound("There is no such machine.")
    return await _with_command(request, desk, UUID(machine.id), machine.name)


async def _with_command(request: AnyRequest, desk: Desk, machine_id: UUID, name: str) -> Template:
    secret = token("cfe")
    expires_at = datetime.now(UTC) + ENROL_TOKEN_LIFE
    actor = desk.principal.actor
    await machines.add_enrol_token(desk.db, desk.organisation_id, machine_id, digest(secret), expires_at, actor)
    url = shlex.quote(desk.config.base_url)
    command = f"python -m machine_agent run --url {url} --enrol-token {shlex.quote(secret)}"
    enrol = {"name": name, "command": command, "expires_at": expires_at}
    return await machines_view(request, desk, enrol=enrol)


@post("/machines/{machine_id:str}/drain", **CHANGES, status_code=303, include_in_schema=False)
async def drain_machine(desk: Desk, on_machine_changed: Told, machine_id: str) -> Redirect:
    """Let it finish what it holds and take nothing more."""
    return await _drain(desk, on_machine_changed, machine_id, on=True)


@post("/machines/{machine_id:str}/undrain", **CHANGES, status_code=303, include_in_schema=False)
async def undrain_machine(desk: Desk, on_machine_changed: Told, machine_id: str) -> Redirect:
    """Give it runs again."""
    return await _drain(desk, on_machine_changed, machine_id, on=False)


async def _drain(desk: Desk, on_machine_changed: Told, machine_id: str, *, on: bool) -> Redirect:
    key = uuid_of(machine_id)
    if not await machines.set_draining(desk.db, desk.organisation_id, key, on=on, actor=desk.principal.actor):
        raise NotFound("There is no such machine.")
    on_machine_changed(str(key))
    return _back("/machines", "drained" if on else "undrained")


@post("/machines/{machine_id:str}/delete", **CHANGES, status_code=303, include_in_schema=False)
async def delete_machine(desk: Desk, on_machine_changed: Told, machine_id: str) -> Redirect:
    """Forget it and lock its agent out; refused while it holds runs."""
    key = uuid_of(machine_id)
    try:
        there = await machines.delete(desk.db, desk.organisation_id, key, force=False, actor=desk.principal.actor)
    except Conflict:
        return _back("/machines", "busy")
    if not there:
        raise NotFound("There is no such machine.")
    on_machine_changed(str(key))
    return _back("/machines", "deleted")


@post("/runs/{run_id:str}/cancel", **CHANGES, status_code=303, include_in_schema=False)
async def cancel_run(desk: Desk, ledger: Ledger, run_id: str) -> Redirect:
    """End a run; its machine stops working on it at once."""
    key = RunId(str(uuid_of(run_id)))
    answer = await ledger.change(Change(key, Cancel(f"cancelled by {desk.principal.actor}"), desk.organisation_id))
    if isinstance(answer, Refusal) and answer.verdict == "unknown":
        raise NotFound("There is no such run.")
    return _back(f"/runs/{key}", "ended" if isinstance(answer, Refusal) else "cancelled")


def _back(path: str, done: str) -> Redirect:
    return Redirect(f"{local_path(path)}?done={done}", status_code=303)


handlers: Final = [
    add_machine,
    enrol_machine,
    drain_machine,
    undrain_machine,
    delete_machine,
    cancel_run,
]
