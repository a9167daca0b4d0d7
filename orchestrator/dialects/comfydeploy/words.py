"""Bodies and answers of ComfyDeploy's API, and our runs in its words. Pure.

Requests are read leniently: a client may send what we do not know. The run model has every member that the published
client demands, although some mean nothing here and are null.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from orchestrator.store.comfydeploy import OutputRow, RunRow

Inputs = dict[str, Any]


class RunDeployment(Struct, kw_only=True):
    """Body of the routes that run a deployment. batch_number: so many alike; batch_input_params: one for each
    combination.
    """

    deployment_id: str
    inputs: Inputs | None = None
    webhook: Annotated[str, Meta(max_length=2000)] | None = None
    webhook_intermediate_status: bool = False
    batch_number: int | None = None
    batch_input_params: dict[str, list[Any]] | None = None


class StartRun(Struct, kw_only=True):
    """Body of POST /api/run: a deployment, a graph, a version; is_native_run: the editor's own machine executes it."""

    deployment_id: str | None = None
    inputs: Inputs | None = None
    webhook: Annotated[str, Meta(max_length=2000)] | None = None
    webhook_intermediate_status: bool = False
    batch_number: int | None = None
    batch_input_params: dict[str, list[Any]] | None = None
    is_native_run: Any = None
    machine_id: str | None = None
    workflow_api_json: dict[str, Any] | None = None
    workflow_api: dict[str, Any] | None = None
    workflow_version_id: str | None = None
    workflow_id: str | None = None
    workflow: Any = None
    gpu_event_id: Any = None

    def of_deployment(self) -> RunDeployment | None:
        """The same as the body of the other routes; None: no deployment is named."""
        if self.deployment_id is None:
            return None
        return RunDeployment(**{name: getattr(self, name) for name in RunDeployment.__struct_fields__})

    def of_graph(self) -> RunWorkflow | None:
        """The same as the body of those that run a graph or a version; None: there is neither."""
        if self.workflow_api_json is None and self.workflow_api is None and self.workflow_version_id is None:
            return None
        return RunWorkflow(**{name: getattr(self, name) for name in RunWorkflow.__struct_fields__})


class Native(Struct):
    """What the editor's machine is to execute, and by which token it reports."""

    prompt_id: str
    run_id: str
    workflow_api_raw: dict[str, Any]
    inputs: Inputs
    workflow: Any
    status_endpoint: str
    file_upload_endpoint: str
    cd_token: str
    gpu_event_id: Any = None


class RunWorkflow(Struct, kw_only=True):
    """Body of the routes that run a graph, or a version by its id."""

    workflow_api_json: dict[str, Any] | None = None
    workflow_api: dict[str, Any] | None = None
    workflow_version_id: str | None = None
    workflow_id: str | None = None
    machine_id: str | None = None
    inputs: Inputs | None = None
    webhook: Annotated[str, Meta(max_length=2000)] | None = None
    webhook_intermediate_status: bool = False


class RunId(Struct):
    """The run that was queued."""

    run_id: str


class Batched(Struct):
    """The batch that was queued."""

    status: str
    batch_id: str


class Count(Struct):
    """How many runs there were."""

    count: int
    start_time: datetime
    end_time: datetime
    filters: dict[str, str | None]


class Done(Struct):
    """It was done."""

    status: str
    message: str


class Media(Struct):
    """A file among a node's outputs."""

    url: str
    filename: str
    type: str
    subfolder: str
    is_public: bool
    output_id: str | None = None


class Output(Struct):
    """What one node made: kind -> files and texts."""

    id: str
    run_id: str
    data: dict[str, list[Any]]
    node_meta: dict[str, str] | None
    created_at: datetime
    updated_at: datetime
    output_id: str | None = None
    node_id: str | None = None


class Run(Struct, kw_only=True):
    """A run. error is ours: why it ended badly."""

    id: str
    workflow_version_id: str | None
    workflow_inputs: Inputs | None
    workflow_id: str
    workflow_api: None = None
    machine_id: str | None
    origin: str
    status: str
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    gpu_event_id: None = None
    gpu: None = None
    machine_version: None = None
    machine_type: str | None
    modal_function_call_id: None = None
    user_id: str | None
    org_id: str | None
    live_status: str | None
    progress: float
    is_realtime: bool = False
    webhook: str | None
    webhook_status: None = None
    webhook_intermediate_status: bool
    batch_id: str | None
    deployment_id: str | None
    outputs: list[Output] | None
    number: int = 0
    duration: float | None
    cold_start_duration: float | None
    cold_start_duration_total: float | None
    comfy_deploy_cold_start: float | None
    run_duration: float | None
    queue_position: int | None = None
    error: str | None = None
    workflow: dict[str, str | None] = field(default_factory=dict)


_SHARED: Final = {"public-share": "public-share", "manual": "manual"}


def run_of(
    row: RunRow,
    outputs: list[Output] | None,
    live: tuple[float, str] | None = None,
    queue_position: int | None = None,
) -> Run:
    """Our run in ComfyDeploy's words. live: progress and what is being done."""
    moments = [row.created_at, row.queued_at, row.started_at, row.running_at, row.uploading_at, row.ended_at]
    done = row.status == "success"
    return Run(
        id=row.id,
        workflow_version_id=row.version_id,
        workflow_inputs=row.inputs,
        workflow_id=row.workflow_id,
        machine_id=row.machine_id,
        origin=_SHARED.get(row.origin, "api"),
        status=row.status,
        ended_at=row.ended_at,
        created_at=row.created_at,
        updated_at=max(moment for moment in moments if moment is not None),
        queued_at=row.queued_at,
        started_at=row.started_at,
        machine_type=row.machine_kind,
        user_id=row.created_by,
        org_id=row.organisation_id,
        live_status=live[1] if live else None,
        progress=live[0] if live else float(done),
        webhook=row.webhook_url,
        webhook_intermediate_status=row.webhook_shape == "comfydeploy-intermediate",
        batch_id=row.batch_id,
        deployment_id=row.deployment_id,
        outputs=outputs,
        duration=_between(row.created_at, row.ended_at),
        cold_start_duration=_between(row.queued_at, row.started_at),
        cold_start_duration_total=_between(row.created_at, row.started_at),
        comfy_deploy_cold_start=_between(row.created_at, row.queued_at),
        run_duration=_between(row.started_at, row.ended_at),
        queue_position=queue_position,
        error=str(row.failure.get("message", "")) if row.failure and row.status != "success" else None,
        workflow={"org_id": row.organisation_id, "user_id": row.created_by},
    )


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


def outputs_of(run_id: str, rows: list[OutputRow], urls: dict[str, str]) -> list[Output]:
    """What the run made, a piece for each node. urls: of the files, by id."""
    found: dict[str, Output] = {}
    for row in rows:
        output = found.get(row.node_id)
        if output is None:
            meta = {"node_id": row.node_id}
            if row.class_type:
                meta["node_class"] = row.class_type
            made = row.created_at
            output = found[row.node_id] = Output(row.id, run_id, {}, meta, made, made, row.output_id, row.node_id)
        items = output.data.setdefault(row.kind, [])
        if row.file_id is not None:
            name = row.name or "output"
            items.append(Media(urls[row.file_id], name, "output", "", False, row.output_id))
        else:
            items += _texts(row.data)
    return list(found.values())


def _texts(data: Any) -> list[str | bool]:
    """A value as the published client can read it: texts and booleans; anything else is its JSON."""
    items = data if isinstance(data, list) else [data]
    return [item if isinstance(item, str | bool) else json.dumps(item) for item in items]
