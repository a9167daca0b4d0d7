"""A graph that a client sends whole becomes a run, for the dialects whose clients know no workflows.

Its shape is a version of the organisation's hidden workflow, its values are the run's inputs. From there on it is a run
like any other. It knows no words of any dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.auth import Principal
from orchestrator.errors import Invalid
from orchestrator.live.parts import Parts
from orchestrator.live.starting import Order, start
from orchestrator.runs import shapes
from orchestrator.runs.requirements import check_graph, requirements_of
from orchestrator.store import graphs
from orchestrator.store.graphs import Dialect
from orchestrator.store.idempotency import Once
from orchestrator.store.ids import new_id
from orchestrator.store.workflows import Author, NewVersion
from orchestrator.vault import Vault
from orchestrator.wire import VersionCreate


class Sending(Struct, frozen=True, kw_only=True):
    """A graph somebody sends. A file in it stands as `{"file_id": id}` where a file's name would be.

    run_id: the id that the run shall have; None: a new one. sealed: keys of other services (with_keys).
    """

    graph: dict[str, Any]
    dialect: Dialect
    run_id: str | None = None
    client_id: str = ""
    labels: dict[str, str] = {}
    extra: dict[str, Any] = {}
    once: Once | None = None
    priority: int = 0
    webhook_url: str | None = None
    webhook_shape: str | None = None
    sealed: bytes | None = None
    machine_id: str | None = None
    pool: dict[str, str] = {}
    max_attempts: int = 3


def with_keys(sending: Sending, vault: Vault, organisation_id: str, keys: Mapping[str, Any]) -> Sending:
    """The same with keys of other services that its nodes need, encrypted until the run is sent to a machine."""
    if not keys:
        return sending
    run_id = sending.run_id or new_id()
    sealed = vault.seal(_context(organisation_id, run_id), msgspec.json.encode(keys))
    return msgspec.structs.replace(sending, run_id=run_id, sealed=sealed)


def opened(vault: Vault, organisation_id: str, run_id: str, sealed: bytes) -> dict[str, Any]:
    """The keys that went along with a run's graph. Raises vault.Sealed."""
    found: dict[str, Any] = msgspec.json.decode(vault.open(_context(organisation_id, run_id), sealed))
    return found


def _context(organisation_id: str, run_id: str) -> str:
    return f"sent keys:{organisation_id}:{run_id}"


class Begun(Struct, frozen=True):
    """The run that stands for the graph. replayed: it stood under the Idempotency-Key already."""

    run_id: str
    number: int
    replayed: bool


async def send(parts: Parts, principal: Principal, sending: Sending) -> Begun:
    """Check the graph and queue its run; durable once this returns. Raises Invalid, NotFound or Conflict."""
    errors = check_graph(sending.graph)
    if errors:
        raise Invalid(f"{errors[0].path}: {errors[0].message}", code="invalid_graph", errors=errors)
    shape, values = shapes.split(sending.graph)
    sent = graphs.Sent(
        run_id=sending.run_id or new_id(),
        organisation_id=principal.organisation_id,
        dialect=sending.dialect,
        sender=principal.actor,
        client_id=sending.client_id,
        labels=sending.labels,
        extra=sending.extra,
        sealed=sending.sealed,
    )
    order = Order(
        id=sent.run_id,
        organisation_id=principal.organisation_id,
        version_id=await _version(parts, principal, shape),
        created_by=principal.user_id,
        inputs=values,
        once=sending.once,
        priority=sending.priority,
        webhook_url=sending.webhook_url,
        webhook_shape=sending.webhook_shape,
        machine_id=sending.machine_id,
        pool=sending.pool,
        max_attempts=sending.max_attempts,
        metadata=sending.labels,
    )
    return await _noted(parts, sent, order)


async def _noted(parts: Parts, sent: graphs.Sent, order: Order) -> Begun:
    number = await graphs.note(parts.db, sent)
    kept = False
    try:
        run = await start(parts, order)
        kept = not run.replayed
    finally:
        if not kept:
            await graphs.forget(parts.db, sent.organisation_id, sent.run_id)
    return Begun(run.id, number, run.replayed)


async def _version(parts: Parts, principal: Principal, shape: dict[str, Any]) -> str:
    name = shapes.hash_of(shape)
    known = await graphs.version_of(parts.db, principal.organisation_id, name)
    if known is not None:
        return known
    needs = requirements_of(shape)
    needs.inputs = [shapes.OPEN]
    author = Author(principal.organisation_id, principal.user_id, principal.actor)
    return await graphs.add_version(parts.db, author, name, NewVersion(VersionCreate(api_graph=shape), needs))
