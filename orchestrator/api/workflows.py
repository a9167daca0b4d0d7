"""Workflows and their versions under /api/v1/workflows: upload, list, read, delete."""

from __future__ import annotations

from uuid import UUID

from litestar import Response, Router, delete, get, patch, post

from orchestrator.api import transfer
from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import NotFound
from orchestrator.live.uploading import checked
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import workflows
from orchestrator.store.db import Database
from orchestrator.store.workflows import Author
from orchestrator.wire import Page, Version, VersionCreate, Workflow, WorkflowCreate, WorkflowUpdate


def _absent(workflow_id: UUID) -> NotFound:
    return NotFound(f"there is no workflow {workflow_id}", code="workflow_not_found")


def _author(principal: Principal) -> Author:
    return Author(principal.organisation_id, principal.user_id, principal.actor)


@post(
    opt=requires("developer", "workflows:write"),
    operation_id="create_workflow",
    summary="Make a workflow",
    responses=documented(400, 403, 413),
)
async def create(data: WorkflowCreate, principal: Principal, db: Database) -> Workflow:
    """With a graph, version 1 is made at once; both stand or neither does."""
    first = None
    if data.api_graph is not None or data.ui_graph is not None:
        graphs = VersionCreate(
            api_graph=data.api_graph, ui_graph=data.ui_graph, snapshot=data.snapshot, comment=data.comment
        )
        first = await checked(db, principal.organisation_id, graphs)
    return await workflows.create(db, _author(principal), data.name, first)


@get(
    operation_id="list_workflows",
    summary="List workflows",
    responses=documented(400, 403),
    opt=requires("viewer", "workflows:read"),
)
async def list_workflows(
    principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[Workflow]:
    """Newest first."""
    return page_of(await workflows.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1), limit)


@get(
    "/{workflow_id:uuid}",
    operation_id="get_workflow",
    summary="One workflow",
    responses={**documented(403, 404), **UNCHANGED},
    opt=requires("viewer", "workflows:read"),
)
async def get_workflow(
    workflow_id: UUID, principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[Workflow]:
    """The workflow with its newest version (without the graphs); its ETag names this state of it."""
    return await _shown(db, principal, workflow_id, if_none_match)


async def _shown(
    db: Database, principal: Principal, workflow_id: UUID, if_none_match: str | None = None
) -> Response[Workflow]:
    workflow = await workflows.get(db, principal.organisation_id, workflow_id)
    if workflow is None:
        raise _absent(workflow_id)
    newest = await workflows.versions(db, principal.organisation_id, workflow_id, None, 1)
    workflow.version = newest[0] if newest else None
    return tagged(workflow, workflow.revision, if_none_match=if_none_match)


@patch(
    "/{workflow_id:uuid}",
    opt=requires("developer", "workflows:write"),
    operation_id="update_workflow",
    summary="Rename a workflow",
    responses=documented(400, 403, 404, 412),
)
async def update(
    workflow_id: UUID, data: WorkflowUpdate, principal: Principal, db: Database, if_match: IfMatch = None
) -> Response[Workflow]:
    """Its versions and deployments stay as they are."""
    if not await workflows.rename(db, _author(principal), workflow_id, data.name, expected(if_match)):
        raise _absent(workflow_id)
    return await _shown(db, principal, workflow_id)


@delete(
    "/{workflow_id:uuid}",
    status_code=204,
    opt=requires("developer", "workflows:write"),
    operation_id="delete_workflow",
    summary="Delete a workflow",
    responses=documented(403, 404, 412),
)
async def delete_workflow(workflow_id: UUID, principal: Principal, db: Database, if_match: IfMatch = None) -> None:
    """The workflow and its deployments disappear; its runs stay."""
    if not await workflows.delete(db, _author(principal), workflow_id, expected(if_match)):
        raise _absent(workflow_id)


@post(
    "/{workflow_id:uuid}/versions",
    opt=requires("developer", "workflows:write"),
    operation_id="create_version",
    summary="Upload a version",
    responses=documented(400, 403, 404, 413),
)
async def create_version(workflow_id: UUID, data: VersionCreate, principal: Principal, db: Database) -> Version:
    """The next number, never used twice. The answer says what the version takes and what a machine must have."""
    new = await checked(db, principal.organisation_id, data)
    made = await workflows.add_version(db, _author(principal), workflow_id, new)
    if made is None:
        raise _absent(workflow_id)
    return made


@get(
    "/{workflow_id:uuid}/versions",
    operation_id="list_versions",
    summary="List versions",
    responses=documented(400, 403, 404),
    opt=requires("viewer", "workflows:read"),
)
async def list_versions(
    workflow_id: UUID, principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[Version]:
    """Newest first, without the graphs."""
    if await workflows.get(db, principal.organisation_id, workflow_id) is None:
        raise _absent(workflow_id)
    after = decode_cursor(cursor)
    return page_of(await workflows.versions(db, principal.organisation_id, workflow_id, after, limit + 1), limit)


@get(
    "/{workflow_id:uuid}/versions/{number:int}",
    operation_id="get_version",
    summary="One version",
    responses=documented(403, 404),
    opt=requires("viewer", "workflows:read"),
)
async def get_version(workflow_id: UUID, number: int, principal: Principal, db: Database) -> Version:
    """One version with its graphs."""
    found = None
    if 0 < number < 2**31:
        found = await workflows.version(db, principal.organisation_id, workflow_id, number)
    if found is None:
        raise NotFound(f"there is no version {number} of workflow {workflow_id}", code="version_not_found")
    return found


routes = [
    Router(
        "/api/v1/workflows",
        route_handlers=[
            create,
            list_workflows,
            get_workflow,
            update,
            delete_workflow,
            create_version,
            list_versions,
            get_version,
            *transfer.handlers,
        ],
        opt=requires("viewer"),
        tags=["workflows"],
    )
]
