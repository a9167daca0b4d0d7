"""Workflows, versions and deployments in ComfyDeploy's words; what its ComfyUI plugin uploads and loads."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import Parameter
from msgspec import UNSET, Meta, Struct

from orchestrator.auth import Principal, requires
from orchestrator.errors import BadRequest, FieldError, Invalid, NotFound
from orchestrator.live.sharing import new_slug
from orchestrator.live.uploading import checked
from orchestrator.runs.sharing import VISIBILITY
from orchestrator.store import comfydeploy as store
from orchestrator.store import deployments, shares, workflows
from orchestrator.store.db import Database
from orchestrator.store.deployments import Placement
from orchestrator.store.workflows import Author, NewVersion
from orchestrator.wire import Deployment, Environment, InputSpec, Version, VersionCreate, Workflow

Asking = Request[Principal, Any, State]
Limit = Annotated[int, Parameter(ge=1, le=1000)]
Offset = Annotated[int, Parameter(ge=0, le=10_000_000)]
READS: Final = requires("viewer", "workflows:read")
WRITES: Final = requires("developer", "workflows:write")
DEPLOYS: Final = requires("developer", "deployments:write")
LOOKS: Final = requires("viewer", "deployments:read")
UNNAMED: Final = re.compile(r"\s*")
InputType = dict[str, Any]


class Upload(Struct, kw_only=True):
    """Body of POST /api/workflow in either generation: the second has `name` and `workflow_json`."""

    name: str | None = None
    workflow_json: Any = None
    workflow_api: Any = None
    machine_id: str | None = None
    workflow_id: str | None = None
    workflow_name: str | None = None
    workflow: Any = None
    snapshot: Any = None
    comfyui_snapshot: Any = None


class Rename(Struct, kw_only=True):
    """Body of PATCH /api/workflow/{id}; what we do not keep is ignored."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    deleted: bool | None = None


class VersionUpload(Struct, kw_only=True):
    """Body of POST /api/workflow/{id}/version."""

    workflow: Any = None
    workflow_api: Any = None
    comment: str | None = None
    machine_id: str | None = None
    comfyui_snapshot: Any = None


class Uploaded(Struct):
    """The answer to an upload, in both generations' words."""

    workflow_id: str
    version: int
    machine_id: str | None = None


class WorkflowRow(Struct):
    """A workflow."""

    id: str
    name: str
    org_id: str
    created_at: datetime
    updated_at: datetime
    latest_version: int
    pinned: bool = False
    deleted: bool = False
    user_id: str | None = None
    selected_machine_id: str | None = None
    description: str | None = None
    cover_image: str | None = None


class VersionRow(Struct):
    """A version. The graphs are left out of lists."""

    id: str
    workflow_id: str
    version: int
    comment: str
    created_at: datetime
    updated_at: datetime
    workflow: Any = None
    workflow_api: Any = None
    snapshot: Any = None
    comfyui_snapshot: Any = None
    dependencies: None = None
    machine_id: None = None
    user_id: None = None


class Deploy(Struct, kw_only=True):
    """Body of POST /api/deployment."""

    workflow_version_id: str
    environment: Environment = "production"
    machine_id: str | None = None


class Redeploy(Struct, kw_only=True):
    """Body of PATCH /api/deployment/{id}; what is not ours to change is ignored."""

    workflow_version_id: str | None = None
    machine_id: str | None = None


class DeploymentRow(Struct):
    """A deployment. input_types say what a run of it takes."""

    id: str
    workflow_id: str
    workflow_version_id: str
    machine_id: str | None
    environment: str
    org_id: str
    created_at: datetime
    updated_at: datetime
    workflow: dict[str, str]
    version: dict[str, Any]
    input_types: list[InputType]
    share_slug: str | None = None


def _author(principal: Principal) -> Author:
    return Author(principal.organisation_id, principal.user_id, principal.actor)


def _uuid(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        what = field.removesuffix("_id").removeprefix("workflow_") or field
        raise NotFound(f"there is no {what} {text[:64]!r}", code="not_found") from None


def _graph(field: str, value: Any) -> Any:
    """A graph that may be sent as JSON text. Raises BadRequest."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"Invalid JSON format: {field}: {error}", code="malformed_json") from error


async def _new_version(
    db: Database, principal: Principal, ui_graph: Any, api_graph: Any, snapshot: Any, comment: str = ""
) -> NewVersion:
    """A version that was checked; without the API graph it is made from the editor's. Raises Invalid."""
    if api_graph is not None and not isinstance(api_graph, dict):
        message = "must be the graph in ComfyUI's API format"
        raise Invalid(f"workflow_api {message}", errors=[FieldError("workflow_api", message)])
    graphs = VersionCreate(api_graph=api_graph, ui_graph=ui_graph, snapshot=snapshot, comment=comment[:2000])
    return await checked(db, principal.organisation_id, graphs)


# Uploading


@post(["/workflow", "/upload"], status_code=200, opt=WRITES)
async def upload(data: Upload, request: Asking, db: Database) -> Uploaded:
    """A new workflow with its first version, or (first generation) the next version of one."""
    second = data.name is not None
    ui_graph = _graph("workflow_json", data.workflow_json if second else data.workflow)
    api_graph = _graph("workflow_api", data.workflow_api)
    snapshot = data.comfyui_snapshot if second else data.snapshot
    if not second and data.workflow_id:
        new = await _new_version(db, request.user, ui_graph, api_graph, snapshot)
        made = await _next_version(db, request.user, data.workflow_id, new)
        return Uploaded(made.workflow_id, made.version)
    name = (data.name if second else data.workflow_name) or ""
    if UNNAMED.fullmatch(name) or len(name) > 200:
        message = "missing either workflow_id or name (1 to 200 characters)"
        raise Invalid(f"Invalid request, {message}", errors=[FieldError("name", message)])
    first = None
    if not second or api_graph is not None or has_nodes(ui_graph):
        first = await _new_version(db, request.user, ui_graph, api_graph, snapshot)
    workflow = await workflows.create(db, _author(request.user), name, first)
    if workflow.version is not None:
        await _preview(db, request.user, workflow.version.id, data.machine_id)
    return Uploaded(workflow.id, workflow.latest_version, data.machine_id)


def has_nodes(ui_graph: Any) -> bool:
    """Whether there is anything in an editor's graph."""
    return isinstance(ui_graph, dict) and bool(ui_graph.get("nodes"))


async def _next_version(db: Database, principal: Principal, workflow_id: str, new: NewVersion) -> Version:
    made = await workflows.add_version(db, _author(principal), _uuid("workflow_id", workflow_id), new)
    if made is None:
        raise NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")
    return made


async def _preview(db: Database, principal: Principal, version_id: str, machine_id: str | None) -> None:
    """A version that is uploaded for a machine can be tried there at once."""
    if machine_id:
        placement = Placement(UUID(version_id), "preview", _uuid("machine_id", machine_id), {})
        await deployments.put(db, principal.organisation_id, placement, principal.actor)


@post("/workflow/{workflow_id:uuid}/version", status_code=200, opt=WRITES)
async def upload_version(workflow_id: UUID, data: VersionUpload, request: Asking, db: Database) -> VersionRow:
    """The next version of a workflow."""
    ui_graph, api_graph = _graph("workflow", data.workflow), _graph("workflow_api", data.workflow_api)
    new = await _new_version(db, request.user, ui_graph, api_graph, data.comfyui_snapshot, data.comment or "")
    made = await _next_version(db, request.user, str(workflow_id), new)
    await _preview(db, request.user, made.id, data.machine_id)
    made.ui_graph, made.api_graph = new.graphs.ui_graph, new.graphs.api_graph
    return _version(made)


# Looking


def workflow_row(row: Workflow, organisation_id: str) -> WorkflowRow:
    """A workflow of ours in these words."""
    return WorkflowRow(row.id, row.name, organisation_id, row.created_at, row.updated_at, row.latest_version)


def _version(row: Version) -> VersionRow:
    made = row.created_at
    graphs = {"workflow": row.ui_graph, "workflow_api": row.api_graph, "snapshot": row.snapshot}
    return VersionRow(row.id, row.workflow_id, row.version, row.comment, made, made, **graphs)


@get(["/workflows", "/workflows/all"], opt=READS)
async def list_workflows(
    request: Asking,
    db: Database,
    search: Annotated[str, Parameter(max_length=200)] = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[WorkflowRow]:
    """Workflows, the last changed first."""
    organisation_id = request.user.organisation_id
    found = await store.workflows(db, organisation_id, search.replace("\0", ""), limit, offset)
    return [workflow_row(row, organisation_id) for row in found]


@get("/workflow/{workflow_id:uuid}", opt=READS)
async def get_workflow(workflow_id: UUID, request: Asking, db: Database) -> dict[str, Any]:
    """A workflow with its newest version."""
    organisation_id = request.user.organisation_id
    row = await workflows.get(db, organisation_id, workflow_id)
    if row is None:
        raise NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")
    newest = None
    if row.latest_version:
        newest = await workflows.version(db, organisation_id, workflow_id, row.latest_version)
    shown: dict[str, Any] = msgspec.to_builtins(workflow_row(row, organisation_id))
    shown["versions"] = [] if newest is None else [msgspec.to_builtins(_version(newest))]
    return shown


@patch("/workflow/{workflow_id:uuid}", opt=WRITES)
async def change_workflow(workflow_id: UUID, data: Rename, request: Asking, db: Database) -> WorkflowRow:
    """Rename a workflow, or (`deleted`) hide it."""
    organisation_id, author = request.user.organisation_id, _author(request.user)
    row = await workflows.get(db, organisation_id, workflow_id)
    if row is None:
        raise NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")
    if data.name is not None:
        await workflows.rename(db, author, workflow_id, data.name, None)
        row.name = data.name
    if data.deleted:
        await workflows.delete(db, author, workflow_id)
    shown = workflow_row(row, organisation_id)
    shown.deleted = bool(data.deleted)
    return shown


@delete("/workflow/{workflow_id:uuid}", status_code=200, opt=WRITES)
async def delete_workflow(workflow_id: UUID, request: Asking, db: Database) -> dict[str, str]:
    """Hide a workflow and its deployments; its runs stay."""
    if not await workflows.delete(db, _author(request.user), workflow_id):
        raise NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")
    return {"message": "success"}


@get("/workflow/{workflow_id:uuid}/versions", opt=READS)
async def list_versions(
    workflow_id: UUID, request: Asking, db: Database, limit: Limit = 100, offset: Offset = 0
) -> list[VersionRow]:
    """A workflow's versions, newest first, without their graphs."""
    organisation_id = request.user.organisation_id
    if await workflows.get(db, organisation_id, workflow_id) is None:
        raise NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")
    found = await workflows.versions(db, organisation_id, workflow_id, None, limit + offset)
    return [_version(row) for row in found[offset:]]


@get("/workflow/{workflow_id:uuid}/version/{number:int}", opt=READS)
async def get_version(workflow_id: UUID, number: int, request: Asking, db: Database) -> VersionRow:
    """One version with its graphs."""
    found = None
    if 0 < number < 2**31:
        found = await workflows.version(db, request.user.organisation_id, workflow_id, number)
    if found is None:
        raise NotFound("No version found", code="version_not_found")
    return _version(found)


@get("/workflow-version/{version_id:uuid}", opt=READS)
async def load_version(version_id: UUID, request: Asking, db: Database) -> VersionRow:
    """One version by its id: what the ComfyUI page loads its graph from."""
    organisation_id = request.user.organisation_id
    place = await store.place_of_version(db, organisation_id, version_id)
    found = None if place is None else await workflows.version(db, organisation_id, place[0], place[1])
    if found is None:
        raise NotFound("No version found", code="version_not_found")
    return _version(found)


# Deployments


async def _deployment(db: Database, organisation_id: str, row: Deployment) -> DeploymentRow:
    inputs = await store.inputs_of_version(db, organisation_id, UUID(row.version_id))
    return DeploymentRow(
        id=row.id,
        workflow_id=row.workflow_id,
        workflow_version_id=row.version_id,
        machine_id=row.machine_id,
        environment=row.environment,
        org_id=organisation_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        workflow={"id": row.workflow_id, "name": row.workflow_name},
        version={"id": row.version_id, "version": row.version},
        input_types=[input_type(spec) for spec in inputs],
        share_slug=await shares.slug_of(db, organisation_id, row.id) if row.environment in VISIBILITY else None,
    )


def input_type(spec: InputSpec) -> InputType:
    """What an input takes, in these words."""
    found: dict[str, Any] = {
        "type": spec.kind,
        "class_type": spec.class_type,
        "input_id": spec.input_id,
        "default_value": spec.default,
        "min_value": spec.minimum,
        "max_value": spec.maximum,
        "display_name": spec.display_name,
        "description": spec.description,
    }
    return {**found, "enum_options": spec.options} if spec.options else found


async def _own(db: Database, principal: Principal, deployment_id: UUID) -> DeploymentRow:
    row = await deployments.get(db, principal.organisation_id, deployment_id)
    if row is None:
        raise NotFound(f"there is no deployment {deployment_id}", code="deployment_not_found")
    return await _deployment(db, principal.organisation_id, row)


@post("/deployment", status_code=200, opt=DEPLOYS)
async def deploy(data: Deploy, request: Asking, db: Database) -> DeploymentRow:
    """Make the workflow's deployment of that environment, or move it to this version and machine."""
    machine_id = _uuid("machine_id", data.machine_id) if data.machine_id else None
    version_id = _uuid("workflow_version_id", data.workflow_version_id)
    placement = Placement(version_id, data.environment, machine_id, {})
    deployment_id, _ = await deployments.put(db, request.user.organisation_id, placement, request.user.actor)
    if data.environment in VISIBILITY:
        await _share(db, request.user, deployment_id)
    return await _own(db, request.user, deployment_id)


async def _share(db: Database, principal: Principal, deployment_id: UUID) -> None:
    """A deployment for sharing has a link from the start."""
    if await shares.slug_of(db, principal.organisation_id, str(deployment_id)) is None:
        await shares.create(db, _author(principal), deployment_id, new_slug(), None, "")


@get("/deployment/{deployment_id:uuid}", opt=LOOKS)
async def get_deployment(deployment_id: UUID, request: Asking, db: Database) -> DeploymentRow:
    """One deployment."""
    return await _own(db, request.user, deployment_id)


@patch("/deployment/{deployment_id:uuid}", opt=DEPLOYS)
async def redeploy(deployment_id: UUID, data: Redeploy, request: Asking, db: Database) -> DeploymentRow:
    """Move a deployment to another version or machine."""
    changed = await deployments.change(
        db,
        request.user.organisation_id,
        deployment_id,
        version_id=_uuid("workflow_version_id", data.workflow_version_id) if data.workflow_version_id else None,
        machine_id=_uuid("machine_id", data.machine_id) if data.machine_id else UNSET,
        pool=None,
        actor=request.user.actor,
    )
    if not changed:
        raise NotFound(f"there is no deployment {deployment_id}", code="deployment_not_found")
    return await _own(db, request.user, deployment_id)


@delete("/deployment/{deployment_id:uuid}", status_code=200, opt=DEPLOYS)
async def undeploy(deployment_id: UUID, request: Asking, db: Database) -> dict[str, str]:
    """It can be run no more; its runs stay."""
    if not await deployments.delete(db, request.user.organisation_id, deployment_id, request.user.actor):
        raise NotFound(f"there is no deployment {deployment_id}", code="deployment_not_found")
    return {"message": "success"}


@get("/deployments", opt=LOOKS)
async def list_deployments(
    request: Asking, db: Database, environment: Environment | None = None, page_size: Limit = 100, offset: Offset = 0
) -> list[DeploymentRow]:
    """Deployments, newest first."""
    organisation_id = request.user.organisation_id
    found = await deployments.page(db, organisation_id, None, 1000)
    chosen = [row for row in found if environment is None or row.environment == environment]
    return [await _deployment(db, organisation_id, row) for row in chosen[offset : offset + page_size]]


@get("/workflow/{workflow_id:uuid}/deployments", opt=LOOKS)
async def deployments_of_workflow(workflow_id: UUID, request: Asking, db: Database) -> list[DeploymentRow]:
    """A workflow's deployments."""
    organisation_id = request.user.organisation_id
    found = await deployments.page(db, organisation_id, None, 1000)
    return [await _deployment(db, organisation_id, row) for row in found if row.workflow_id == str(workflow_id)]


handlers: Final = [
    upload,
    upload_version,
    list_workflows,
    get_workflow,
    change_workflow,
    delete_workflow,
    list_versions,
    get_version,
    load_version,
    deploy,
    get_deployment,
    redeploy,
    undeploy,
    list_deployments,
    deployments_of_workflow,
]
