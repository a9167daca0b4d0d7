"""Deployments under /api/v1/deployments: a version made callable, where it may run, and what it pointed to before."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.datastructures import State
from litestar.openapi import ResponseSpec
from msgspec import UNSET, UnsetType

from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.idempotency import OWN
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.api.run_orders import WAITED, order_of, started
from orchestrator.auth import Principal, requires
from orchestrator.errors import FieldError, Invalid, NotFound
from orchestrator.live.once import once_of
from orchestrator.live.parts import Parts
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.schema import deployment_document
from orchestrator.store import deployment_history, deployments, inventories
from orchestrator.store.db import Database
from orchestrator.store.deployments import Placement
from orchestrator.wire import (
    Deployment,
    DeploymentCreate,
    DeploymentRevision,
    DeploymentRun,
    DeploymentUpdate,
    Page,
    Promotion,
    Rollback,
    RunAccepted,
)


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


async def _shown(
    db: Database,
    principal: Principal,
    deployment_id: UUID,
    status_code: int = 200,
    if_none_match: str | None = None,
) -> Response[Deployment]:
    found = await deployments.get(db, principal.organisation_id, deployment_id)
    if found is None:
        raise _absent(deployment_id)
    return tagged(found, found.revision, status_code, if_none_match)


@post(
    opt=requires("developer", "deployments:write"),
    operation_id="put_deployment",
    summary="Deploy a version",
    responses={
        **documented(400, 403, 409),
        200: ResponseSpec(Deployment, description="It was there and has moved.", generate_examples=False),
    },
)
async def put(data: DeploymentCreate, principal: Principal, db: Database) -> Response[Deployment]:
    """Makes the workflow's deployment of that environment (201), or moves it to this version (200)."""
    placement = Placement(
        version_id=_id("version_id", data.version_id),
        environment=data.environment,
        machine_id=None if data.machine_id is None else _id("machine_id", data.machine_id),
        pool=data.pool,
        split=data.split,
        alias=data.alias,
        description=data.description,
    )
    deployment_id, made = await deployments.put(db, principal.organisation_id, placement, principal.actor)
    return await _shown(db, principal, deployment_id, 201 if made else 200)


@get(
    operation_id="list_deployments",
    summary="List deployments",
    responses=documented(400, 403),
    opt=requires("playground", "deployments:read"),
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
    responses={**documented(403, 404), **UNCHANGED},
    opt=requires("playground", "deployments:read"),
)
async def get_deployment(
    deployment_id: UUID, principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[Deployment]:
    """One deployment; its ETag names this state of it."""
    return await _shown(db, principal, deployment_id, if_none_match=if_none_match)


@patch(
    "/{deployment_id:uuid}",
    opt=requires("developer", "deployments:write"),
    operation_id="update_deployment",
    summary="Change a deployment",
    responses=documented(400, 403, 404, 409, 412),
)
async def update(
    deployment_id: UUID, data: DeploymentUpdate, principal: Principal, db: Database, if_match: IfMatch = None
) -> Response[Deployment]:
    """What is left out stays; `machine_id: null` unpins it, `alias: null` takes its alias away."""
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
        split=data.split,
        alias=data.alias,
        description=data.description,
        actor=principal.actor,
        expected=expected(if_match),
    )
    if not changed:
        raise _absent(deployment_id)
    return await _shown(db, principal, deployment_id)


@delete(
    "/{deployment_id:uuid}",
    status_code=204,
    opt=requires("developer", "deployments:write"),
    operation_id="delete_deployment",
    summary="Delete a deployment",
    responses=documented(403, 404, 412),
)
async def delete_deployment(deployment_id: UUID, principal: Principal, db: Database, if_match: IfMatch = None) -> None:
    """It can be run no more; its runs stay."""
    revision = expected(if_match)
    if not await deployments.delete(db, principal.organisation_id, deployment_id, principal.actor, revision):
        raise _absent(deployment_id)


@post(
    "/{deployment_id:uuid}/promote",
    status_code=200,
    opt=requires("developer", "deployments:write"),
    operation_id="promote_deployment",
    summary="Have another environment run the same version",
    responses=documented(400, 403, 404, 409),
)
async def promote(deployment_id: UUID, data: Promotion, principal: Principal, db: Database) -> Response[Deployment]:
    """Answers the deployment of that environment, which keeps its machines; one that is made takes over these."""
    organisation_id, actor = principal.organisation_id, principal.actor
    made = await deployment_history.promote(db, organisation_id, deployment_id, data.environment, actor)
    if made is None:
        raise _absent(deployment_id)
    return await _shown(db, principal, made)


@post(
    "/{deployment_id:uuid}/rollback",
    status_code=200,
    opt=requires("developer", "deployments:write"),
    operation_id="rollback_deployment",
    summary="Go back to what it pointed to before",
    responses=documented(400, 403, 404, 409, 412),
)
async def rollback(
    deployment_id: UUID, data: Rollback, principal: Principal, db: Database, if_match: IfMatch = None
) -> Response[Deployment]:
    """Back to what stood before the last change, or to a revision of its history. A second one goes forth again."""
    revision = expected(if_match)
    organisation_id, actor = principal.organisation_id, principal.actor
    if not await deployment_history.rollback(db, organisation_id, deployment_id, data.revision, actor, revision):
        raise _absent(deployment_id)
    return await _shown(db, principal, deployment_id)


@get(
    "/{deployment_id:uuid}/history",
    operation_id="list_deployment_history",
    summary="What a deployment pointed to",
    responses=documented(400, 403, 404),
    opt=requires("viewer", "deployments:read"),
)
async def history(
    deployment_id: UUID, principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[DeploymentRevision]:
    """Newest first: who changed it, when, and what it pointed to from then on."""
    organisation_id = principal.organisation_id
    if await deployments.get(db, organisation_id, deployment_id) is None:
        raise _absent(deployment_id)
    found = await deployment_history.page(db, organisation_id, deployment_id, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


@get(
    "/{deployment_id:uuid}/openapi.json",
    operation_id="get_deployment_openapi",
    summary="A deployment as an OpenAPI document",
    responses=documented(403, 404),
    opt=requires("playground", "deployments:read"),
)
async def openapi(deployment_id: UUID, principal: Principal, parts: Parts) -> dict[str, Any]:
    """One path, which starts a run of it, with its inputs as they are typed; for generators of clients."""
    found = await deployments.get(parts.db, principal.organisation_id, deployment_id)
    if found is None:
        raise _absent(deployment_id)
    needs = await inventories.requirements(parts.db, principal.organisation_id, found.version_id)
    return deployment_document(
        name=found.alias or f"{found.workflow_name} ({found.environment})",
        about=found.description,
        server=parts.config.base_url,
        path=f"/api/v1/deployments/{deployment_id}/runs",
        inputs=[] if needs is None else needs.inputs,
        outputs=[] if needs is None else needs.outputs,
    )


@post(
    "/{deployment_id:uuid}/runs",
    status_code=202,
    operation_id="run_deployment",
    summary="Start a run of a deployment",
    opt=OWN | requires("playground", "runs:write", bound=True),
    responses={**documented(400, 403, 404, 409, 413, 429), **WAITED},
)
async def run(
    deployment_id: UUID, data: DeploymentRun, request: Request[Principal, Any, State], parts: Parts
) -> Response[RunAccepted]:
    """As POST /runs, of this deployment; it may be waited for or followed as there."""
    request.user.check_run(str(deployment_id))
    once = await once_of(request)
    order = order_of(request.user, data, deployment_id=str(deployment_id), inputs=data.inputs, once=once)
    return await started(request, parts, order)


routes = [
    Router(
        "/api/v1/deployments",
        route_handlers=[
            put,
            list_deployments,
            get_deployment,
            update,
            delete_deployment,
            promote,
            rollback,
            history,
            openapi,
            run,
        ],
        opt=requires("playground"),
        tags=["deployments"],
    )
]
