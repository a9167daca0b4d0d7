"""Shares under /api/v1/shares: links to a page where others run a deployment. Handlers only translate."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Router, delete, get, post
from litestar.datastructures import State
from litestar.params import HeaderParameter

from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import PUBLIC, Authenticator, Principal, address_of, requires
from orchestrator.config import Config
from orchestrator.errors import FieldError, Invalid, NotFound, TooMany
from orchestrator.live import sharing
from orchestrator.live.parts import Parts
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.schema import inputs_schema
from orchestrator.store import shares
from orchestrator.store.db import Database
from orchestrator.store.workflows import Author
from orchestrator.wire import (
    Page,
    Run,
    Share,
    ShareCreate,
    ShareOutput,
    SharePage,
    ShareRun,
    ShareRunAccepted,
    ShareRunCreate,
)

ANYONE: Final[dict[str, Any]] = {**PUBLIC, "optional_principal": True}
ShareToken = Annotated[str, HeaderParameter(name="Share-Token", description="The token that came with the run.")]
Asking = Request[Principal | None, Any, State]


def _author(principal: Principal) -> Author:
    return Author(principal.organisation_id, principal.user_id, principal.actor)


def _linked(config: Config, share: Share) -> Share:
    share.url = f"{config.base_url}/api/v1/shares/{share.slug}"
    return share


@post(
    opt=requires("developer", "shares:write"),
    operation_id="create_share",
    summary="Make a link to a deployment",
    responses=documented(400, 403, 409),
)
async def create(data: ShareCreate, principal: Principal, db: Database, config: Config) -> Share:
    """Of an environment `public-share` (for anyone, where the installation allows it) or `private-share` (the team)."""
    try:
        deployment_id = UUID(data.deployment_id)
    except ValueError as error:
        message = f"there is no deployment {data.deployment_id[:64]!r}"
        errors = [FieldError("deployment_id", message, "deployment_not_found")]
        raise Invalid(f"deployment_id: {message}", code="deployment_not_found", errors=errors) from error
    slug = data.slug or sharing.new_slug()
    made = await shares.create(db, _author(principal), deployment_id, slug, data.title, data.description)
    return _linked(config, made)


@get(
    opt=requires("viewer", "shares:read"),
    operation_id="list_shares",
    summary="List links",
    responses=documented(400, 403),
)
async def list_shares(
    principal: Principal, db: Database, config: Config, cursor: Cursor = None, limit: Limit = 20
) -> Page[Share]:
    """Those that lead somewhere, newest first."""
    found = await shares.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1)
    return page_of([_linked(config, share) for share in found], limit)


@delete(
    "/{slug:str}",
    status_code=204,
    opt=requires("developer", "shares:write"),
    operation_id="revoke_share",
    summary="Have a link lead nowhere",
    responses=documented(403, 404),
)
async def revoke(slug: str, principal: Principal, db: Database) -> None:
    """At once and for good: its slug is not used again. Runs that were started through it stay."""
    if "\0" in slug or not await shares.revoke(db, _author(principal), slug):
        raise NotFound("there is no such link", code="share_not_found")


@get(
    "/{slug:str}",
    opt=ANYONE,
    operation_id="get_share",
    summary="What a link's page shows",
    responses=documented(403, 404),
)
async def page(slug: str, request: Asking, parts: Parts) -> SharePage:
    """No graph: its title, what it says, and the JSON Schema of what a run may be given."""
    found, _ = await sharing.follow(parts, slug, request.user, "shares:read")
    return SharePage(slug, found.visibility, found.title, found.description, inputs_schema(found.inputs))


@post(
    "/{slug:str}/runs",
    status_code=202,
    opt=ANYONE,
    operation_id="run_share",
    summary="Start a run through a link",
    responses=documented(400, 403, 404, 409, 413, 429),
)
async def run(slug: str, data: ShareRunCreate, request: Asking, parts: Parts, auth: Authenticator) -> ShareRunAccepted:
    """Of the team by role and quota; anyone else so many an hour, and without naming stored files."""
    found, admission = await sharing.follow(parts, slug, request.user, "runs:write")
    if admission == "guest":
        await _count(auth, request)
    run_id = await sharing.run_through(parts, found, admission, request.user, data.inputs)
    secret: bytes = request.app.state.services.secret
    url = f"{parts.config.base_url}/api/v1/shares/{slug}/runs/{run_id}"
    return ShareRunAccepted(run_id, "not-started", url, sharing.token_of(secret, found, run_id))


async def _count(auth: Authenticator, request: Asking) -> None:
    """Count a guest's run by address. Raises TooMany."""
    limit = auth.limits.guest_runs
    standing = None if limit is None else await limit.take(f"share:{address_of(request.scope)}")
    if standing is not None and standing.wait_s > 0:
        raise TooMany("no more runs through public links from this address now", retry_after_s=standing.wait_s)


@get(
    "/{slug:str}/runs/{run_id:uuid}",
    opt=ANYONE,
    operation_id="get_share_run",
    summary="Look at a run that was started through a link",
    responses=documented(403, 404),
)
async def look(slug: str, run_id: UUID, request: Asking, parts: Parts, share_token: ShareToken) -> ShareRun:
    """For whoever holds the token that came with it."""
    found, _ = await sharing.follow(parts, slug, request.user, "runs:read")
    secret: bytes = request.app.state.services.secret
    return _shown(await sharing.run_of(parts, secret, found, str(run_id), share_token))


def _shown(run: Run) -> ShareRun:
    outputs = [
        ShareOutput(one.kind, one.name, one.content_type, one.size, one.url, one.data) for one in run.outputs or []
    ]
    failure = run.failure.get("kind") if run.failure else None
    return ShareRun(run.id, run.status, run.created_at, run.ended_at, failure, outputs)


routes = [Router("/api/v1/shares", route_handlers=[create, list_shares, revoke, page, run, look], tags=["shares"])]
