"""Deployments under /api/v1/deployments: a version made callable, and where it may run."""

from __future__ import annotations

from uuid import UUID

from litestar import Response, Router, delete, get, patch, post
from msgspec import UNSET, UnsetType

from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import FieldError, Invalid, NotFound
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import deployments
from orchestrator.store.db import Database
from orchestrator.store.deployments import Placement
from orchestrator.wire import Deployment, DeploymentCreate, DeploymentUpdate, Page


def _absent(deployment_id: UUID) -> NotFound:
    return NotFound(f"there is no deployment {deployment_id}", code="deployment_not_found")


def _id(path: str, text: str) -> UUID:
    """An id in a body. Text that is no UUID names nothing."""
    try:
        return UUID(text)
    except ValueError as error:
        what = path.removesuffix("_id")
        message, code = f"there is no {what} {text[:64]!r}", f"{what}_not_found"
        raise Invalid(f"{path}: {message}", code=code, errors=[FieldError(path, message, code)]) from error


async def _shown(db: Database, principal: Principal, deployment_id: UUID) -> Deployment:
    found = await deployments.get(db, principal.organisation_id, deployment_id)
    if found is None:
        raise _absent(deployment_id)
    return found


@post(
    guards=[requires("developer", "deployments:write")],
    operation_id="put_deployment",
    summary="Deploy a version",
    responses=documented(400, 403),
)
async def put(data: DeploymentCreate, principal: Principal, db: Database) -> Response[Deployment]:
    """Makes the workflow's deployment of that environment (201), or moves it to this version (200)."""
    machine_id = None if data.machine_id is None else _id("machine_id", data.machine_id)
    placement = Placement(_id("version_id", data.version_id), data.environment, machine_id, data.pool)
    deployment_id, made = await deployments.put(db, principal.organisation_id, placement, principal.actor)
    return Response(await _shown(db, principal, deployment_id), status_code=201 if made else 200)


@get(
    operation_id="list_deployments",
    summary="List deployments",
    responses=documented(400, 403),
    guards=[requires("playground", "deployments:read")],
)
async def list_deployments(
    principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[Deployment]:
    """Newest first."""
    return page_of(await deployments.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1), limit)


@get(
    "/{deployment_id:uuid}",
    operation_id="get_deployment",
    summary="One deployment",
    responses=documented(403, 404),
    guards=[requires("playground", "deployments:read")],
)
async def get_deployment(deployment_id: UUID, principal: Principal, db: Database) -> Deployment:
    """One deployment."""
    return await _shown(db, principal, deployment_id)


@patch(
    "/{deployment_id:uuid}",
    guards=[requires("developer", "deployments:write")],
    operation_id="update_deployment",
    summary="Change a deployment",
    responses=documented(400, 403, 404),
)
async def update(deployment_id: UUID, data: DeploymentUpdate, principal: Principal, db: Database) -> Deployment:
    """What is left out stays; `machine_id: null` unpins it."""
    machine_id: UUID | UnsetType | None = UNSET
    if not isinstance(data.machine_id, UnsetType):
        machine_id = None if data.machine_id is None else _id("machine_id", data.machine_id)
    changed = await deployments.change(
        db,
        principal.organisation_id,
        deployment_id,
        version_id=None if data.version_id is None else _id("version_id", data.version_id),
        machine_id=machine_id,
        pool=data.pool,
        actor=principal.actor,
    )
    if not changed:
        raise _absent(deployment_id)
    return await _shown(db, principal, deployment_id)


@delete(
    "/{deployment_id:uuid}",
    status_code=204,
    guards=[requires("developer", "deployments:write")],
    operation_id="delete_deployment",
    summary="Delete a deployment",
    responses=documented(403, 404),
)
async def delete_deployment(deployment_id: UUID, principal: Principal, db: Database) -> None:
    """It can be run no more; its runs stay."""
    if not await deployments.delete(db, principal.organisation_id, deployment_id, principal.actor):
        raise _absent(deployment_id)


routes = [
    Router(
        "/api/v1/deployments",
        route_handlers=[put, list_deployments, get_deployment, update, delete_deployment],
        guards=[requires("playground")],
        tags=["deployments"],
    )
]
