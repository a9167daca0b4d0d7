"""Versions in and out as files, back as the newest, and away: the rest of /api/v1/workflows."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.params import QueryParameter

from orchestrator.api.problems import decode, documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import NotFound
from orchestrator.live.parts import Parts
from orchestrator.live.uploading import checked
from orchestrator.runs import archive
from orchestrator.store import versions, workflows
from orchestrator.store.db import Database
from orchestrator.store.versions import Whole
from orchestrator.store.workflows import Author
from orchestrator.wire import Version, VersionCreate, Workflow, WorkflowExport

ZIP: Final = "application/zip"
LARGEST_NUMBER: Final = 2**31
_DECODER: Final = msgspec.json.Decoder(WorkflowExport)
Form = Annotated[
    Literal["json", "zip"],
    QueryParameter(name="format", description="A JSON document, or a zip of a file for each part."),
]


def _author(principal: Principal) -> Author:
    return Author(principal.organisation_id, principal.user_id, principal.actor)


def _absent(workflow_id: UUID, number: int) -> NotFound:
    return NotFound(f"there is no version {number} of workflow {workflow_id}", code="version_not_found")


async def _whole(db: Database, principal: Principal, workflow_id: UUID, number: int) -> Whole:
    found = None
    if 0 < number < LARGEST_NUMBER:
        found = await versions.by_number(db, principal.organisation_id, workflow_id, number)
    if found is None:
        raise _absent(workflow_id, number)
    return found


@post(
    "/{workflow_id:uuid}/versions/{number:int}/restore",
    opt=requires("developer", "workflows:write"),
    operation_id="restore_version",
    summary="Have an old version as the newest",
    responses=documented(403, 404),
)
async def restore(workflow_id: UUID, number: int, principal: Principal, db: Database) -> Version:
    """A new version with the graphs and the snapshot of the old one, which stays as it is."""
    old = await _whole(db, principal, workflow_id, number)
    graphs = VersionCreate(
        api_graph=old.api_graph, ui_graph=old.ui_graph, snapshot=old.snapshot, comment=f"version {number} again"
    )
    new = await checked(db, principal.organisation_id, graphs)
    made = await workflows.add_version(db, _author(principal), workflow_id, new)
    if made is None:
        raise _absent(workflow_id, number)
    return made


@get(
    "/{workflow_id:uuid}/versions/{number:int}/export",
    opt=requires("viewer", "workflows:read"),
    operation_id="export_version",
    summary="A version as a file",
    responses=documented(400, 403, 404),
    media_type="application/json",
)
async def export(
    workflow_id: UUID, number: int, principal: Principal, db: Database, form: Form = "json"
) -> Response[WorkflowExport]:
    """All that was uploaded of it. POST /workflows/import takes either form."""
    found = await _whole(db, principal, workflow_id, number)
    whole = WorkflowExport(
        name=found.workflow_name,
        version=found.version,
        comment=found.comment,
        api_graph=found.api_graph,
        ui_graph=found.ui_graph,
        snapshot=found.snapshot,
    )
    name = f"{_plain(found.workflow_name)}-{number}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if form == "zip":
        zipped: Any = archive.pack(whole)
        return Response(zipped, media_type=ZIP, headers=headers)
    return Response(whole, media_type="application/json", headers=headers)


def _plain(name: str) -> str:
    """A name as it may stand in a header and on any disk."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:80] or "workflow"


@post(
    "/import",
    opt=requires("developer", "workflows:write"),
    operation_id="import_workflow",
    summary="Take in an exported version",
    responses=documented(400, 403, 413),
)
async def import_workflow(request: Request[Principal, Any, State], parts: Parts) -> Workflow:
    """Either form of an export, as a new workflow with one version; the number it had elsewhere is not kept."""
    body, kind = await request.body(), request.headers.get("content-type", "").partition(";")[0].strip().lower()
    whole = archive.unpack(body, parts.config.max_body) if kind == ZIP else decode(body, _DECODER)
    graphs = VersionCreate(
        api_graph=whole.api_graph, ui_graph=whole.ui_graph, snapshot=whole.snapshot, comment=whole.comment
    )
    first = await checked(parts.db, request.user.organisation_id, graphs)
    return await workflows.create(parts.db, _author(request.user), whole.name, first)


@delete(
    "/{workflow_id:uuid}/versions/{number:int}",
    status_code=204,
    opt=requires("developer", "workflows:write"),
    operation_id="delete_version",
    summary="Delete a version",
    responses=documented(403, 404, 409),
)
async def delete_version(workflow_id: UUID, number: int, principal: Principal, db: Database) -> None:
    """It is seen no more and takes no new runs; its runs stay, and its number is not used again."""
    there = 0 < number < LARGEST_NUMBER and await versions.delete(db, _author(principal), workflow_id, number)
    if not there:
        raise _absent(workflow_id, number)


handlers: Final = [restore, export, import_workflow, delete_version]
"""Part of the router in workflows.py: a path's methods stand together."""
