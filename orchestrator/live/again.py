"""Runs that are started as many at once, and runs that are started once more. What one run needs is in starting.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from drivers.wire import RunId
from orchestrator import wire
from orchestrator.errors import FieldError, Invalid, NotFound
from orchestrator.live.parts import Parts
from orchestrator.live.starting import Order, checked, drawn, missing_files, new_run, refuse_url, target_of
from orchestrator.runs import inputs
from orchestrator.store import runs
from orchestrator.store.ids import new_id

MOST_ERRORS: Final = 20


class StartedBatch(Struct, frozen=True):
    """A batch that is stored."""

    id: str
    run_ids: list[RunId]


async def start_batch(parts: Parts, order: Order, values: Sequence[dict[str, Any]]) -> StartedBatch:
    """Check every run's inputs, then queue all or none. order: what holds for each; values is not empty.

    Raises Invalid, whose errors say which run (`inputs[3].seed`); or as `start` does.
    """
    batch_id, target = new_id(), await target_of(parts, order)
    new = []
    for one in values:
        run_id = new_id()
        new.append(new_run(parts, replace(order, inputs=one, batch_id=batch_id), drawn(target, run_id), run_id))
    specs = {target.version_id: target.inputs, **{other.version_id: other.inputs for other in target.others}}
    await _check_inputs(
        parts, new, {version: msgspec.convert(of, list[wire.InputSpec]) for version, of in specs.items()}
    )
    if order.webhook_url is not None:
        refuse_url("webhook_url", order.webhook_url, allow_private=parts.config.webhook_private)
    for run in {run.lane: run for run in new}.values():
        await parts.abilities.require(run.lane, run.organisation_id, run.version_id, run.pool, run.pinned_machine_id)
    await parts.queue.add_batch(batch_id, new)
    return StartedBatch(batch_id, [run.id for run in new])


async def _check_inputs(parts: Parts, new: Sequence[runs.NewRun], specs: Mapping[str, list[wire.InputSpec]]) -> None:
    errors: list[FieldError] = []
    for place, run in enumerate(new):
        found = inputs.check(run.inputs, specs[run.version_id])
        errors += [replace(error, path=error.path.replace("inputs", f"inputs[{place}]", 1)) for error in found]
        if len(errors) >= MOST_ERRORS:
            break
    if not errors:
        wanted = dict.fromkeys(file_id for run in new for file_id in inputs.file_ids(run.inputs))
        errors = await missing_files(parts, new[0].organisation_id, list(wanted))
    if errors:
        raise Invalid(f"{errors[0].path}: {errors[0].message}", errors=errors[:MOST_ERRORS])


async def start_again(
    parts: Parts, organisation_id: str, run_id: str, *, created_by: str | None, api_key_id: str | None
) -> runs.NewRun:
    """Queue a run like one there was: the same version, inputs and machines. Raises NotFound, Invalid or Conflict."""
    was = await runs.repeatable(parts.db, organisation_id, run_id)
    if was is None:
        raise NotFound(f"there is no run {run_id}", code="run_not_found")
    order = Order(
        organisation_id=organisation_id,
        version_id=was.version_id,
        created_by=created_by,
        api_key_id=api_key_id,
        inputs=was.inputs,
        webhook_url=was.webhook_url,
        webhook_shape=was.webhook_shape,
        priority=was.priority,
        pool=was.pool,
        timeout_s=was.timeout_s,
        max_attempts=was.max_attempts,
        origin="retry",
        metadata=was.metadata,
    )
    run = replace(
        await checked(parts, order),
        deployment_id=was.deployment_id,
        pinned_machine_id=was.pinned_machine_id,
        lane=was.lane,
        retry_of=run_id,
    )
    await parts.queue.add(run)
    return run
