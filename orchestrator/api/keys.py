"""API keys under /api/v1/api-keys: make (shown once), list, look at, rotate, revoke."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from litestar import Response, Router, delete, get, post

from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Authenticator, Principal, requires
from orchestrator.credentials import hint_of, new_api_key
from orchestrator.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from orchestrator.runs.access import RANK, Grant, excess, handed_on
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import keys, revisions
from orchestrator.store.db import Database
from orchestrator.store.ids import digest
from orchestrator.wire import ApiKey, ApiKeyCreate, ApiKeyRotate, Page


@post(
    operation_id="create_api_key",
    summary="Make an API key",
    responses=documented(400, 403),
    opt=requires("developer", "keys:write"),
)
async def create(data: ApiKeyCreate, principal: Principal, db: Database) -> ApiKey:
    """The answer holds the key itself; it is never shown again. Nothing of it can exceed the caller's."""
    deployment_ids = None if data.deployment_ids is None else [str(wanted) for wanted in data.deployment_ids]
    grant = handed_on(principal.grant, data.role, data.scopes, deployment_ids)
    beyond = excess(principal.grant, grant)
    if beyond is not None:
        raise Forbidden(f"a key cannot be given more than its maker has: {beyond}", code="key_exceeds_maker")
    if data.expires_at is not None and _as_utc(data.expires_at) <= datetime.now(UTC):
        raise Invalid("expires_at is in the past", errors=[FieldError("expires_at", "must lie in the future")])
    secret = new_api_key()
    row = keys.NewKey(
        principal.organisation_id,
        data.name,
        digest(secret),
        hint_of(secret),
        data.role,
        principal.user_id,
        None if data.expires_at is None else _as_utc(data.expires_at),
        None if grant.scopes is None else sorted(grant.scopes),
        None if grant.deployment_ids is None else [UUID(text) for text in sorted(grant.deployment_ids)],
    )
    async with db.transaction() as connection:
        made = await keys.create(connection, row, principal.actor)
    made.key = secret
    return made


def _as_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


@get(
    operation_id="list_api_keys",
    summary="List API keys",
    responses=documented(400, 403),
    opt=requires("developer", "keys:read"),
)
async def list_keys(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[ApiKey]:
    """Newest first, revoked ones too; never the keys themselves."""
    return page_of(await keys.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1), limit)


@get(
    "/{key_id:uuid}",
    operation_id="get_api_key",
    summary="One API key",
    responses={**documented(403, 404), **UNCHANGED},
    opt=requires("developer", "keys:read"),
)
async def get_key(
    key_id: UUID, principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[ApiKey]:
    """Never the key itself; the ETag names this state of it."""
    revision = await revisions.present(db, "API key", principal.organisation_id, key_id)
    found = await keys.get(db, principal.organisation_id, key_id)
    if found is None:
        raise _absent(key_id)
    return tagged(found, revision, if_none_match=if_none_match)


def _absent(key_id: UUID) -> NotFound:
    return NotFound(f"there is no API key {key_id}", code="api_key_not_found")


@delete(
    "/{key_id:uuid}",
    status_code=204,
    operation_id="revoke_api_key",
    summary="Revoke",
    responses=documented(403, 404, 412),
    opt=requires("developer", "keys:write"),
)
async def revoke(
    key_id: UUID, principal: Principal, db: Database, auth: Authenticator, if_match: IfMatch = None
) -> None:
    """End a key, at once here and within seconds on other replicas."""
    grant = await _grant(db, principal, key_id)
    if RANK[grant.role] > RANK[principal.role]:
        raise Forbidden(f"a {principal.role} cannot revoke a key with the role {grant.role}")
    await keys.revoke(db, principal.organisation_id, key_id, principal.actor, expected(if_match))
    auth.forget(key_id=str(key_id))


async def _grant(db: Database, principal: Principal, key_id: UUID) -> Grant:
    grant = await keys.grant_of(db, principal.organisation_id, key_id)
    if grant is None:
        raise _absent(key_id)
    return grant


@post(
    "/{key_id:uuid}/rotate",
    status_code=200,
    operation_id="rotate_api_key",
    summary="Exchange a key's secret",
    responses=documented(400, 403, 404, 409, 412),
    opt=requires("developer", "keys:write"),
)
async def rotate(
    key_id: UUID,
    data: ApiKeyRotate,
    principal: Principal,
    db: Database,
    auth: Authenticator,
    if_match: IfMatch = None,
) -> ApiKey:
    """The answer holds the new key, once. Name, role, scopes and expiry stay; the old key works for `grace_s` more."""
    beyond = excess(principal.grant, await _grant(db, principal, key_id))
    if beyond is not None:
        raise Forbidden(f"this key may do more than the caller: {beyond}", code="key_exceeds_maker")
    secret = new_api_key()
    new = keys.Secret(digest(secret), hint_of(secret), data.grace_s)
    rotated = await keys.rotate(db, principal.organisation_id, key_id, new, principal.actor, expected(if_match))
    if rotated is None:
        raise Conflict(f"the API key {key_id} was revoked or has expired", code="api_key_ended")
    auth.forget(key_id=str(key_id))
    rotated.key = secret
    return rotated


routes = [
    Router(
        "/api/v1/api-keys",
        route_handlers=[create, list_keys, get_key, revoke, rotate],
        opt=requires("developer"),
        tags=["api-keys"],
    )
]
