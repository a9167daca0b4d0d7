"""What ComfyDeploy's dashboards and clients do with what is there: copies, exports, shares, and the team's files."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from msgspec import Meta, Struct

from orchestrator.auth import PUBLIC, Principal, requires
from orchestrator.config import Config
from orchestrator.dialects.comfydeploy.uploads import view_url
from orchestrator.dialects.comfydeploy.workflows import InputType, WorkflowRow, input_type, workflow_row
from orchestrator.errors import FieldError, Invalid, NotFound
from orchestrator.live import sharing
from orchestrator.live.parts import Parts
from orchestrator.live.uploading import checked
from orchestrator.runs.sharing import VISIBILITY
from orchestrator.store import file_lists, machines, versions, workflows
from orchestrator.store import files as file_rows
from orchestrator.store.db import Database
from orchestrator.store.files import FileRow
from orchestrator.store.versions import Whole
from orchestrator.store.workflows import Author
from orchestrator.wire import VersionCreate

Asking = Request[Principal, Any, State]
Limit = Annotated[int, Parameter(ge=1, le=200)]
LOOKS: Final = requires("viewer", "workflows:read")
WRITES: Final = requires("developer", "workflows:write")
MOST_MACHINES: Final = 200


class Clone(Struct):
    """Body of POST /api/workflow/{id}/clone."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class Exported(Struct):
    """A workflow's newest version, with all that was uploaded of it."""

    id: str
    name: str
    version: int
    comment: str
    workflow: Any
    workflow_api: dict[str, Any]
    snapshot: Any


class Shared(Struct):
    """What a share's page shows: no graph."""

    id: str
    name: str
    description: str
    environment: str
    share_slug: str
    input_types: list[InputType]
    run_url: str


class Asset(Struct):
    """A file of the team's: an input that was uploaded, or an output."""

    id: str
    name: str
    url: str
    mime_type: str
    file_size: int
    created_at: datetime
    is_folder: bool = False
    path: str = "/"


async def _newest(db: Database, principal: Principal, workflow_id: UUID) -> Whole:
    organisation_id = principal.organisation_id
    row = await workflows.get(db, organisation_id, workflow_id)
    if row is None:
        raise NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")
    found = await versions.by_number(db, organisation_id, workflow_id, row.latest_version)
    if found is None:
        raise NotFound("No version found", code="version_not_found")
    return found


@post("/workflow/{workflow_id:uuid}/clone", status_code=200, opt=WRITES)
async def clone(workflow_id: UUID, request: Asking, db: Database) -> WorkflowRow:
    """A new workflow whose first version is the newest one of this; a body may give it a `name`."""
    body = await request.body()
    try:
        wanted = msgspec.json.decode(body, type=Clone) if body.strip() else Clone()
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"the body: {error}", errors=[FieldError("name", str(error))]) from error
    old, principal = await _newest(db, request.user, workflow_id), request.user
    graphs = VersionCreate(api_graph=old.api_graph, ui_graph=old.ui_graph, snapshot=old.snapshot)
    new = await checked(db, principal.organisation_id, graphs)
    name = wanted.name or f"{old.workflow_name[:190]} (copy)"
    author = Author(principal.organisation_id, principal.user_id, principal.actor)
    return workflow_row(await workflows.create(db, author, name, new), principal.organisation_id)


@get("/workflow/{workflow_id:uuid}/export", opt=LOOKS)
async def export(workflow_id: UUID, request: Asking, db: Database) -> Response[Exported]:
    """The newest version as a file."""
    found = await _newest(db, request.user, workflow_id)
    graphs = {"workflow": found.ui_graph, "workflow_api": found.api_graph, "snapshot": found.snapshot}
    whole = Exported(found.workflow_id, found.workflow_name, found.version, found.comment, **graphs)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", found.workflow_name).strip("-")[:80] or "workflow"
    headers = {"Content-Disposition": f'attachment; filename="{plain}.json"'}
    return Response(whole, headers=headers, media_type="application/json")


@get("/latest-hashes", opt=requires("viewer", "machines:read"))
async def latest_hashes(request: Asking, db: Database) -> dict[str, str | None]:
    """The newest version of ComfyUI that a connected machine runs. Nothing is built here, so no other hash counts."""
    found = await machines.page(db, request.user.organisation_id, None, MOST_MACHINES)
    told = [(machine.inventory.get("versions") or {}).get("comfyui", "") for machine in found if machine.connected]
    newest = max(told, key=_numbers, default="") or None
    return {"comfyui_hash": newest, "comfyui_version": newest}


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", version)]


@get("/share/{username:str}/{slug:str}", opt={**PUBLIC, "optional_principal": True})
async def share(username: str, slug: str, request: Request[Principal | None, Any, State], parts: Parts) -> Shared:
    """What a share shows. A slug names one share, whatever name stands before it."""
    found, _ = await sharing.follow(parts, slug, request.user, "shares:read")
    environment = next(name for name, visibility in VISIBILITY.items() if visibility == found.visibility)
    return Shared(
        id=found.deployment_id,
        name=found.title,
        description=found.description,
        environment=environment,
        share_slug=slug,
        input_types=[input_type(spec) for spec in found.inputs],
        run_url=f"{parts.config.base_url}/api/v1/shares/{slug}/runs",
    )


# The team's files


def _asset(config: Config, file: FileRow) -> Asset:
    return Asset(file.id, file.name, view_url(config, file.id), file.content_type, file.size, file.created_at)


@get("/assets", opt=requires("viewer", "files:read"))
async def list_assets(
    request: Asking,
    db: Database,
    config: Config,
    limit: Limit = 100,
    search: Annotated[str, Parameter(max_length=200)] = "",
    before: UUID | None = None,
) -> list[Asset]:
    """The team's files, newest first; `before` goes on from one of them. There are no folders."""
    wanted = search.replace("\0", "") or None
    found = await file_lists.page(db, request.user.organisation_id, before, limit, purpose=None, name=wanted)
    return [_asset(config, file) for file in found]


@get("/assets/{file_id:uuid}", opt=requires("viewer", "files:read"))
async def get_asset(file_id: UUID, request: Asking, db: Database, config: Config) -> Asset:
    """One file."""
    found = await file_rows.of_organisation(db, request.user.organisation_id, [file_id])
    if not found:
        raise NotFound(f"there is no file {file_id}", code="file_not_found")
    return _asset(config, found[0])


@delete("/assets/{file_id:uuid}", status_code=200, opt=requires("developer", "files:write"))
async def remove_asset(file_id: UUID, request: Asking, db: Database) -> dict[str, str]:
    """Refused while a run that has not ended needs or makes it."""
    if not await file_lists.delete(db, request.user.organisation_id, file_id, request.user.actor):
        raise NotFound(f"there is no file {file_id}", code="file_not_found")
    return {"message": "success"}


handlers: Final = [clone, export, latest_hashes, share, list_assets, get_asset, remove_asset]
