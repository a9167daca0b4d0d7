"""The one way a run is started, for the native API and every dialect: what is asked for, checked, then queued.

It knows what a deployment or a version demands, and no words of any API but those of the errors.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from drivers import egress
from drivers.wire import RunId
from orchestrator import wire
from orchestrator.errors import ApiProblem, Conflict, FieldError, Invalid, NotFound
from orchestrator.live.once import other_body
from orchestrator.live.parts import Parts
from orchestrator.runs import inputs
from orchestrator.runs.schedule import Demand, lane_of
from orchestrator.runs.split import pick
from orchestrator.store import idempotency, runs, targets
from orchestrator.store.idempotency import Once, Repeated
from orchestrator.store.ids import new_id

ALIAS: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Order(Struct, frozen=True, kw_only=True):
    """A run somebody wants. Exactly one of deployment_id and version_id. timeout_s None: the installation's default.

    once: its Idempotency-Key (live/once.py); the same again gives the same run. id: what the run shall be called, from
    who noted something of it before; None: a new id. webhook_shape: in whose words webhook_url is told; None: ours.
    deployment_id may be a deployment's alias. only: the deployments that it may be of; None: any. machine_id: the
    only machine that it may go to, of the organisation's; None: as the deployment has it.
    """

    organisation_id: str
    id: str | None = None
    deployment_id: str | None = None
    version_id: str | None = None
    created_by: str | None = None
    inputs: dict[str, Any] = {}
    webhook_url: str | None = None
    priority: int = 0
    pool: dict[str, str] = {}
    timeout_s: int | None = None
    max_attempts: int = 3
    origin: str = "api"
    once: Once | None = None
    api_key_id: str | None = None
    batch_id: str | None = None
    webhook_shape: str | None = None
    metadata: dict[str, str] = {}
    tags: list[str] | None = None
    only: frozenset[str] | None = None
    machine_id: str | None = None


async def start(parts: Parts, order: Order) -> runs.NewRun:
    """Check the order and queue the run; once this returns it is durable. Raises Invalid, NotFound or Conflict.

    An order whose Idempotency-Key was used before gives the run of then, `replayed`.
    """
    try:
        run = await checked(parts, order)
        queued = await parts.queue.add(run)
    except ApiProblem:
        # What it was checked against may have changed since the run was queued.
        earlier = await _earlier(parts, order)
        if earlier is None:
            raise
        return earlier
    return run if queued == run.id else _replayed(run, queued)


async def checked(parts: Parts, order: Order) -> runs.NewRun:
    """The run that an order stands for, not queued yet. Raises Invalid, NotFound or Conflict."""
    run_id = order.id or new_id()
    target = drawn(await target_of(parts, order), run_id)
    specs = msgspec.convert(target.inputs, list[wire.InputSpec])
    errors = inputs.check(order.inputs, specs) or await missing_files(
        parts, order.organisation_id, inputs.file_ids(order.inputs)
    )
    if errors:
        raise Invalid(f"{errors[0].path}: {errors[0].message}", errors=errors)
    if order.webhook_url is not None:
        refuse_url("webhook_url", order.webhook_url, allow_private=parts.config.webhook_private)
    if order.machine_id is not None:
        target = msgspec.structs.replace(target, machine_id=order.machine_id)
    run = new_run(parts, order, target, run_id)
    await parts.abilities.require(run.lane, run.organisation_id, run.version_id, run.pool, run.pinned_machine_id)
    return run


async def _earlier(parts: Parts, order: Order) -> runs.NewRun | None:
    if order.once is None:
        return None
    found = (await idempotency.repeated(parts.db, [(order.organisation_id, order.once)]))[0]
    return None if found is None else _replayed(_nothing(order), found)


def _nothing(order: Order) -> runs.NewRun:
    """The shape of a run whose particulars are not known any more; only its id will count."""
    return runs.NewRun(
        id=RunId(""), organisation_id=order.organisation_id, workflow_id="", version_id="", deployment_id=None
    )


def _replayed(run: runs.NewRun, found: str | Repeated | None) -> runs.NewRun:
    if not isinstance(found, Repeated):
        detail = "the Idempotency-Key ran out at this moment; send again"
        raise Conflict(detail, code="idempotency_in_flight", retry_after_s=1)
    if not found.same:
        raise other_body()
    return msgspec.structs.replace(run, id=RunId(found.run_id or ""), replayed=True)


def refuse_url(field: str, url: str, *, allow_private: bool) -> None:
    """Raise Invalid with the code `url_refused` when a webhook may not go to this URL."""
    try:
        egress.check_url(url, allow_private=allow_private)
    except egress.Refused as error:
        raise Invalid(f"{field}: {error}", code="url_refused", errors=[FieldError(field, str(error))]) from error


async def target_of(parts: Parts, order: Order) -> targets.Target:
    """What the order wants to run, as it is now. Raises Invalid, NotFound."""
    if (order.deployment_id is None) == (order.version_id is None):
        errors = [FieldError("deployment_id", "give exactly one of deployment_id and version_id")]
        raise Invalid("give exactly one of deployment_id and version_id", errors=errors)
    kind: Literal["deployment", "version"] = "version" if order.deployment_id is None else "deployment"
    wanted = _wanted(order, kind)
    target = await parts.queue.target(wanted)
    if target is None or (order.only is not None and target.deployment_id not in order.only):
        raise NotFound(f"there is no {kind} {wanted.id}", code=f"{kind}_not_found")
    return target


def _wanted(order: Order, kind: Literal["deployment", "version"]) -> targets.Wanted:
    text = order.deployment_id or order.version_id or ""
    field = f"{kind}_id"
    try:
        return targets.Wanted(order.organisation_id, str(UUID(text)), kind)
    except ValueError:
        if kind == "deployment" and ALIAS.fullmatch(text):
            return targets.Wanted(order.organisation_id, text, "alias")
        raise Invalid(f"{field} is not an id", errors=[FieldError(field, "is not a UUID")]) from None


def drawn(target: targets.Target, run_id: str) -> targets.Target:
    """The version that falls to this run, where several share the deployment's runs."""
    if not target.others:
        return target
    chosen = pick(run_id, None, [(other, other.percent) for other in target.others])
    if chosen is None:
        return target
    return msgspec.structs.replace(target, version_id=chosen.version_id, inputs=chosen.inputs, others=[])


async def missing_files(parts: Parts, organisation_id: str, wanted: list[str]) -> list[FieldError]:
    """An error for each of the files that the organisation does not have."""
    if not wanted:
        return []
    found = await parts.files.resolve(parts.db, organisation_id, wanted)
    return [
        FieldError("inputs", f"there is no file {file_id}", "file_not_found")
        for file_id in wanted
        if file_id not in found
    ]


def new_run(parts: Parts, order: Order, target: targets.Target, run_id: str) -> runs.NewRun:
    """The run that an order stands for, once its target is known and all was checked."""
    pool = {**target.pool, **order.pool}
    demand = Demand(
        order.organisation_id,
        target.version_id,
        pool=tuple(sorted(pool.items())),
        pinned=target.machine_id,  # type: ignore[arg-type]
    )
    return runs.NewRun(
        id=run_id,  # type: ignore[arg-type]
        organisation_id=order.organisation_id,
        workflow_id=target.workflow_id,
        version_id=target.version_id,
        deployment_id=target.deployment_id,
        origin=order.origin,
        priority=order.priority,
        lane=lane_of(demand),
        pool=pool,
        pinned_machine_id=target.machine_id,
        inputs=order.inputs,
        max_attempts=order.max_attempts,
        timeout_s=order.timeout_s or parts.config.run_timeout_s,
        webhook_url=order.webhook_url,
        created_by=order.created_by,
        once=order.once,
        api_key_id=order.api_key_id,
        batch_id=order.batch_id,
        webhook_shape=order.webhook_shape,
        metadata=order.metadata,
        tags=order.tags,
    )
