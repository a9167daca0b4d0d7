"""What every route that starts runs has in common: the order a body stands for, and the three ways of answering it."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response
from litestar.datastructures import State
from litestar.openapi import ResponseSpec

from orchestrator import wire
from orchestrator.api.exchange import Answer
from orchestrator.api.run_streams import frames, streamed
from orchestrator.auth import Principal
from orchestrator.errors import FieldError, Invalid
from orchestrator.live.following import check_room, ended
from orchestrator.live.following import follow as followed
from orchestrator.live.once import REPLAYED
from orchestrator.live.parts import Parts
from orchestrator.live.shown import shown_run
from orchestrator.live.starting import Order, start
from orchestrator.runs.preferences import wait_s, wants_stream
from orchestrator.scope import sent
from orchestrator.store.idempotency import Once

WAITED: Final = {
    200: ResponseSpec(wire.Run, description="With `Prefer: wait`: the run has ended.", generate_examples=False)
}
Incoming = Request[Principal, Any, State]


def order_of(
    principal: Principal,
    data: wire.RunOptions,
    *,
    deployment_id: str | None,
    version_id: str | None = None,
    inputs: dict[str, Any] | None = None,
    once: Once | None = None,
) -> Order:
    """What a caller wants to run, if it may ask for that. Raises Invalid, Forbidden."""
    if version_id is not None and not principal.may("developer"):
        raise Invalid("this role runs deployments only", errors=[FieldError("version_id", "use deployment_id")])
    if deployment_id is None:
        principal.check_run(None)
    return Order(
        organisation_id=principal.organisation_id,
        deployment_id=deployment_id,
        version_id=version_id,
        created_by=principal.user_id,
        inputs=inputs or {},
        webhook_url=data.webhook_url,
        priority=data.priority,
        pool=data.pool,
        timeout_s=data.timeout_s,
        max_attempts=data.max_attempts,
        metadata=data.metadata,
        tags=data.tags,
        once=once,
        api_key_id=principal.key_id,
        only=principal.deployment_ids,
    )


async def started(request: Incoming, parts: Parts, order: Order) -> Response[Any]:
    """Start it and answer as the caller prefers: 202 at once, 200 with the run once it has ended, or its events."""
    stream, wait = wants_stream(sent(request.scope, b"accept")), wait_s(sent(request.scope, b"prefer"))
    if stream or wait:
        check_room(request.app.state.services.hub, order.organisation_id)
    run = await start(parts, order)
    location = f"/api/v1/runs/{run.id}"
    accepted = wire.RunAccepted(run.id, "not-started", parts.config.base_url + location)
    headers = {"Location": location} | ({REPLAYED: "true"} if run.replayed else {})
    if stream:
        return _from_the_start(request, parts, accepted, headers)
    if wait is None:
        return Answer(accepted, status_code=202, headers=headers)
    return await _waited(request, parts, accepted, headers, wait)


async def _waited(
    request: Incoming, parts: Parts, accepted: wire.RunAccepted, headers: dict[str, str], seconds: float
) -> Response[Any]:
    """200 with the run if it ends in time; else what is answered without waiting."""
    headers |= {"Preference-Applied": f"wait={seconds:g}"}
    organisation_id, hub = request.user.organisation_id, request.app.state.services.hub
    draining = request.app.state.draining
    if await ended(parts.db, hub, organisation_id, accepted.id, seconds, draining):
        run = await shown_run(parts.db, parts.files, organisation_id, accepted.id)
        return Answer(run, status_code=200, headers=headers)
    return Answer(accepted, status_code=202, headers=headers)


def _from_the_start(
    request: Incoming, parts: Parts, accepted: wire.RunAccepted, headers: dict[str, str]
) -> Response[Any]:
    organisation_id, state = request.user.organisation_id, request.app.state

    async def shown() -> wire.Run | None:
        return await shown_run(parts.db, parts.files, organisation_id, accepted.id)

    events = followed(
        parts.db, state.services.hub, organisation_id, accepted.id, after=0, draining=state.draining, logs=True
    )
    return streamed(frames(events, accepted=accepted, shown=shown), headers)
