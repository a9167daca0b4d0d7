"""Runs in ComfyDeploy's words: started from a deployment or a graph, polled, cancelled, waited for, streamed.

What is decided about a run is decided where runs are; this only says it in other words.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from orchestrator import wire
from orchestrator.auth import Principal, requires
from orchestrator.dialects.comfydeploy import words
from orchestrator.dialects.comfydeploy.native import begin_native
from orchestrator.dialects.comfydeploy.problems import RunFailed
from orchestrator.dialects.comfydeploy.webhooks import shown_outputs
from orchestrator.errors import FieldError, Forbidden, Invalid, NotFound, Unavailable
from orchestrator.files import Files
from orchestrator.live.again import start_batch
from orchestrator.live.following import ended, follow
from orchestrator.live.graphs import Sending, send
from orchestrator.live.hub import Hub
from orchestrator.live.parts import Parts
from orchestrator.live.starting import Order, refuse_url, start, target_of
from orchestrator.runs.batches import MOST_RUNS, spread
from orchestrator.runs.inputs import place
from orchestrator.runs.lenient import addressed, fitted
from orchestrator.runs.state import TERMINAL, Cancel
from orchestrator.store import comfydeploy as store
from orchestrator.store import machines
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger

WAIT_S: Final = 1800.0
MOST_WITH_OUTPUTS: Final = 100
STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
STARTS: Final = requires("playground", "runs:write", bound=True)
READS: Final = requires("playground", "runs:read", bound=True)
LISTS: Final = requires("viewer", "runs:read", bound=True)
"""A key that is bound to deployments finds their runs only."""
Asking = Request[Principal, Any, State]
Limit = Annotated[int, Parameter(ge=1, le=1000)]
Offset = Annotated[int, Parameter(ge=0, le=10_000_000)]


async def begin(request: Asking, parts: Parts, data: words.RunDeployment) -> str:
    """Queue a run of a deployment; its id."""
    principal = request.user
    principal.check_run(data.deployment_id)
    return await _start(request, parts, data, deployment_id=data.deployment_id)


async def _start(
    request: Asking,
    parts: Parts,
    data: words.RunDeployment | words.RunWorkflow,
    *,
    deployment_id: str | None = None,
    version_id: str | None = None,
) -> str:
    order = _order(request.user, data, deployment_id=deployment_id, version_id=version_id)
    specs = msgspec.convert((await target_of(parts, order)).inputs, list[wire.InputSpec])
    values = fitted(data.inputs or {}, specs, parts.config.base_url)
    run = await start(parts, msgspec.structs.replace(order, inputs=values))
    return run.id


def _order(
    principal: Principal,
    data: words.RunDeployment | words.RunWorkflow,
    *,
    deployment_id: str | None = None,
    version_id: str | None = None,
) -> Order:
    return Order(
        organisation_id=principal.organisation_id,
        deployment_id=deployment_id,
        version_id=version_id,
        created_by=principal.user_id,
        api_key_id=principal.key_id,
        webhook_url=data.webhook or None,
        webhook_shape=_shape(data),
    )


def _shape(data: words.RunDeployment | words.RunWorkflow) -> str | None:
    if not data.webhook:
        return None
    return "comfydeploy-intermediate" if data.webhook_intermediate_status else "comfydeploy"


async def begin_graph(request: Asking, parts: Parts, data: words.RunWorkflow) -> str:
    """Queue a run of a graph that is sent along, or of a version; its id."""
    if data.workflow_version_id is not None:
        request.user.check_run(None)
        return await _start(request, parts, data, version_id=data.workflow_version_id)
    graph = data.workflow_api_json or data.workflow_api
    if graph is None:
        raise Invalid("workflow_api_json is missing", errors=[FieldError("workflow_api_json", "is missing")])
    base_url = parts.config.base_url
    graph = place(graph, {key: addressed(value, base_url) for key, value in (data.inputs or {}).items()})
    if data.webhook:
        refuse_url("webhook", data.webhook, allow_private=parts.config.webhook_private)
    sending = Sending(
        graph=graph,
        dialect="comfydeploy",
        webhook_url=data.webhook or None,
        webhook_shape=_shape(data),
        machine_id=None if data.machine_id is None else (await _machine(parts.db, request.user, data.machine_id)).id,
    )
    return (await send(parts, request.user, sending)).run_id


async def _machine(db: Database, principal: Principal, machine_id: str) -> wire.Machine:
    """A machine of the team's. Raises NotFound."""
    try:
        found = await machines.get(db, principal.organisation_id, UUID(machine_id))
    except ValueError:
        found = None
    if found is None:
        raise NotFound(f"there is no machine {machine_id[:64]!r}", code="machine_not_found")
    return found


# Queued


@post("/run", status_code=200, opt=STARTS)
async def start_run(request: Asking, data: words.StartRun, parts: Parts) -> words.RunId | words.Batched | words.Native:
    """The first generation's way to run a deployment, or a graph; and how the plugin begins what its editor queues."""
    if data.is_native_run:
        return await begin_native(request, parts, data, await _machine(parts.db, request.user, data.machine_id or ""))
    wanted, graph = data.of_deployment(), data.of_graph()
    if wanted is None and graph is not None:
        if not request.user.may("developer"):
            raise Forbidden("a graph of one's own needs the role developer")
        request.user.check_run(None)
        return words.RunId(await begin_graph(request, parts, graph))
    if wanted is None:
        raise Invalid("deployment_id is missing", errors=[FieldError("deployment_id", "is missing", "missing_field")])
    return await _queued(request, parts, wanted)


@post(["/run/queue", "/run/deployment/queue"], status_code=200, opt=STARTS)
async def queue_deployment(request: Asking, data: words.RunDeployment, parts: Parts) -> words.RunId | words.Batched:
    """Queue a run of a deployment, or many at once."""
    return await _queued(request, parts, data)


async def _queued(request: Asking, parts: Parts, data: words.RunDeployment) -> words.RunId | words.Batched:
    if data.batch_number is not None or data.batch_input_params is not None:
        return words.Batched("success", await _begin_batch(request, parts, data))
    return words.RunId(await begin(request, parts, data))


async def _begin_batch(request: Asking, parts: Parts, data: words.RunDeployment) -> str:
    request.user.check_run(data.deployment_id)
    order = _order(request.user, data, deployment_id=data.deployment_id)
    common = data.inputs or {}
    if data.batch_input_params is not None:
        wanted = spread(None, data.batch_input_params, common)
    else:
        # one more than is allowed is refused by name, and no longer list is made
        wanted = spread([{}] * min(max(0, data.batch_number or 0), MOST_RUNS + 1), None, common)
    specs = msgspec.convert((await target_of(parts, order)).inputs, list[wire.InputSpec])
    values = [fitted(one, specs, parts.config.base_url) for one in wanted]
    return (await start_batch(parts, order, values)).id


@post("/run/workflow/queue", status_code=200, opt=requires("developer", "runs:write"))
async def queue_graph(request: Asking, data: words.RunWorkflow, parts: Parts) -> words.RunId:
    """Queue a run of a graph."""
    return words.RunId(await begin_graph(request, parts, data))


# Waited for


@post(["/run/sync", "/run/deployment/sync"], status_code=200, opt=STARTS)
async def wait_deployment(request: Asking, data: words.RunDeployment, parts: Parts, hub: Hub) -> list[words.Output]:
    """Run a deployment and answer with its outputs."""
    return await _waited(request, parts, hub, await begin(request, parts, data))


@post("/run/workflow/sync", status_code=200, opt=requires("developer", "runs:write"))
async def wait_graph(request: Asking, data: words.RunWorkflow, parts: Parts, hub: Hub) -> list[words.Output]:
    """Run a graph and answer with its outputs."""
    return await _waited(request, parts, hub, await begin_graph(request, parts, data))


async def _waited(request: Asking, parts: Parts, hub: Hub, run_id: str) -> list[words.Output]:
    organisation_id, draining = request.user.organisation_id, request.app.state.draining
    if not await ended(parts.db, hub, organisation_id, run_id, WAIT_S, draining):
        raise Unavailable(f"the run {run_id} has not ended yet: ask for it", retry_after_s=5)
    row = await store.run(parts.db, organisation_id, run_id)
    if row is None or row.status != "success":
        reason = row.failure.get("message") if row and row.failure else None
        raise RunFailed(f"the run {run_id} ended as {row.status if row else 'gone'}: {reason or 'no reason given'}")
    return await shown_outputs(parts.db, parts.files, organisation_id, run_id)


# Streamed


@post(["/run/stream", "/run/deployment/stream"], status_code=200, opt=STARTS)
async def stream_deployment(request: Asking, data: words.RunDeployment, parts: Parts, hub: Hub) -> Stream:
    """Run a deployment and follow it."""
    return _streamed(request, parts, hub, await begin(request, parts, data))


@post("/run/workflow/stream", status_code=200, opt=requires("developer", "runs:write"))
async def stream_graph(request: Asking, data: words.RunWorkflow, parts: Parts, hub: Hub) -> Stream:
    """Run a graph and follow it."""
    return _streamed(request, parts, hub, await begin_graph(request, parts, data))


def _streamed(request: Asking, parts: Parts, hub: Hub, run_id: str) -> Stream:
    body = _frames(request, parts, hub, run_id)
    return Stream(body, status_code=200, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _frames(request: Asking, parts: Parts, hub: Hub, run_id: str) -> AsyncGenerator[bytes]:
    """`event_update` frames: statuses, progress, and the outputs before the last status."""
    organisation_id, draining = request.user.organisation_id, request.app.state.draining
    yield _update("run_id", run_id)
    events = follow(parts.db, hub, organisation_id, run_id, after=0, draining=draining, logs=True)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, wire.RunEvent):
                if event.status == "success":
                    for output in await shown_outputs(parts.db, parts.files, organisation_id, run_id):
                        yield _update("output_ready", output)
                yield _update("status", {"prompt_id": run_id, "status": event.status})
            elif isinstance(event, wire.ProgressEvent):
                yield _update("live_status", {"prompt_id": run_id, "live_status": event.text, "progress": event.value})
            elif isinstance(event, wire.LogPart):
                for line in event.lines:
                    yield b"event: log_update\ndata: %s\n\n" % msgspec.json.encode(
                        {"logs": line, "timestamp": event.at}
                    )
            else:
                yield b": still here\n\n"


def _update(event: str, data: Any) -> bytes:
    return b"event: event_update\ndata: %s\n\n" % msgspec.json.encode({"event": event, "data": data})


# Looked at


@get("/run", opt=READS)
async def get_run_by_query(run_id: UUID, request: Asking, parts: Parts, hub: Hub) -> words.Run:
    """The first generation's way to ask for a run."""
    return await shown(request.user, parts, hub, run_id)


@get("/run/{run_id:uuid}", opt=READS)
async def get_run(run_id: UUID, request: Asking, parts: Parts, hub: Hub, queue_position: bool = False) -> words.Run:
    """A run with its outputs; with queue_position how many wait before it."""
    return await shown(request.user, parts, hub, run_id, queue_position=queue_position)


async def shown(
    principal: Principal, parts: Parts, hub: Hub, run_id: UUID, *, queue_position: bool = False
) -> words.Run:
    """The run with its outputs. Raises NotFound."""
    row = await own(parts.db, principal, run_id)
    outputs = await shown_outputs(parts.db, parts.files, principal.organisation_id, row.id)
    live = None if row.status in TERMINAL else hub.progress(row.id)
    before = await store.place_in_queue(parts.db, principal.organisation_id, row.id) if queue_position else None
    return words.run_of(row, outputs, (live.value, live.text) if live else None, before)


async def own(db: Database, principal: Principal, run_id: UUID) -> store.RunRow:
    """The run, if the caller may see it. Raises NotFound."""
    made_by = None if principal.may("viewer") else principal.user_id
    row = await store.run(db, principal.organisation_id, str(run_id), made_by)
    if row is None or not principal.may_run(row.deployment_id):
        raise NotFound(f"there is no run {run_id}", code="run_not_found")
    return row


@post("/run/{run_id:uuid}/cancel", status_code=200, opt=STARTS)
async def cancel_run(run_id: UUID, request: Asking, db: Database, ledger: Ledger) -> words.Done:
    """Idempotent: a run that has ended stays as it ended."""
    await own(db, request.user, run_id)
    change = Change(str(run_id), Cancel(f"cancelled by {request.user.actor}"), request.user.organisation_id)  # type: ignore[arg-type]
    await ledger.change(change)
    return words.Done("success", "Function cancelled")


# Listed


@get(
    ["/workflow/{workflow_id:uuid}/runs", "/v2/workflow/{workflow_id:uuid}/runs"],
    opt=LISTS,
)
async def runs_of_workflow(
    workflow_id: UUID,
    request: Asking,
    db: Database,
    files: Files,
    limit: Limit = 100,
    offset: Offset = 0,
    status: wire.RunStatus | None = None,
    deployment_id: UUID | None = None,
    rf: Annotated[float | None, Parameter(ge=0, le=4_000_000_000)] = None,
    with_outputs: bool = False,
) -> list[words.Run]:
    """A workflow's runs, newest first; rf: not older than this moment (Unix seconds)."""
    rows = await store.runs(
        db,
        request.user.organisation_id,
        workflow_id=str(workflow_id),
        deployment_id=None if deployment_id is None else str(deployment_id),
        bound_to=request.user.deployment_ids,
        status=status,
        since=None if rf is None else datetime.fromtimestamp(rf, UTC),
        limit=min(limit, MOST_WITH_OUTPUTS) if with_outputs else limit,
        offset=offset,
    )
    if not with_outputs:
        return [words.run_of(row, None) for row in rows]
    organisation_id = request.user.organisation_id
    return [words.run_of(row, await shown_outputs(db, files, organisation_id, row.id)) for row in rows]


@get("/deployment/{deployment_id:uuid}/runs", opt=LISTS)
async def runs_of_deployment(
    deployment_id: UUID, request: Asking, db: Database, limit: Limit = 100, offset: Offset = 0
) -> list[words.Run]:
    """A deployment's runs, newest first, without outputs."""
    rows = await store.runs(
        db,
        request.user.organisation_id,
        deployment_id=str(deployment_id),
        bound_to=request.user.deployment_ids,
        limit=limit,
        offset=offset,
    )
    return [words.run_of(row, None) for row in rows]


@get("/workflow/{workflow_id:uuid}/run/latest", opt=LISTS)
async def latest_run(workflow_id: UUID, request: Asking, parts: Parts, hub: Hub) -> words.Run:
    """A workflow's newest run."""
    key = request.user
    rows = await store.runs(
        parts.db, key.organisation_id, workflow_id=str(workflow_id), bound_to=key.deployment_ids, limit=1, offset=0
    )
    if not rows:
        raise NotFound(f"there is no run of {workflow_id}", code="run_not_found")
    return await shown(request.user, parts, hub, UUID(rows[0].id))


@get("/runs/count", opt=LISTS)
async def count_runs(
    request: Asking,
    db: Database,
    start_time: datetime,
    end_time: datetime,
    workflow_id: UUID | None = None,
    deployment_id: UUID | None = None,
    machine_id: UUID | None = None,
    status: wire.RunStatus | None = None,
) -> words.Count:
    """How many runs of the team there were between two moments."""
    filters = {
        "workflow_id": None if workflow_id is None else str(workflow_id),
        "deployment_id": None if deployment_id is None else str(deployment_id),
        "machine_id": None if machine_id is None else str(machine_id),
        "status": status,
    }
    since, until = _utc(start_time), _utc(end_time)
    bound_to = request.user.deployment_ids
    found = await store.count_runs(
        db, request.user.organisation_id, bound_to=bound_to, since=since, until=until, **filters
    )
    return words.Count(found, since, until, filters)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


handlers: Final = [
    latest_run,
    count_runs,
    start_run,
    queue_deployment,
    queue_graph,
    wait_deployment,
    wait_graph,
    stream_deployment,
    stream_graph,
    get_run_by_query,
    get_run,
    cancel_run,
    runs_of_workflow,
    runs_of_deployment,
]
