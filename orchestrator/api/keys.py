"""API keys under /api/v1/api-keys: make (shown once), list, revoke."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from litestar import Router, delete, get, post

from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import RANK, Authenticator, Principal, requires
from orchestrator.credentials import hint_of, new_api_key
from orchestrator.errors import FieldError, Forbidden, Invalid, NotFound
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import keys
from orchestrator.store.db import Database
from orchestrator.store.ids import digest
from orchestrator.wire import ApiKey, ApiKeyCreate, Page


@post(
    operation_id="create_api_key",
    summary="Make an API key",
    responses=documented(400, 403),
    guards=[requires("developer", "keys:write")],
)
async def create(data: ApiKeyCreate, principal: Principal, db: Database) -> ApiKey:
    """The answer holds the key itself; it is never shown again. Its role cannot exceed the caller's."""
    if RANK[data.role] > RANK[principal.role]:
        raise Forbidden(f"a {principal.role} cannot make a key with the role {data.role}")
    if data.expires_at is not None and _as_utc(data.expires_at) <= datetime.now(UTC):
        raise Invalid("expires_at is in the past", errors=[FieldError("expires_at", "must lie in the future")])
    secret = new_api_key()
    expires_at = None if data.expires_at is None else _as_utc(data.expires_at)
    row = keys.NewKey(
        principal.organisation_id,
        data.name,
        digest(secret),
        hint_of(secret),
        data.role,
        principal.user_id,
        expires_at,
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
    guards=[requires("developer", "keys:read")],
)
async def list_keys(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[ApiKey]:
    """Newest first, revoked ones too; never the keys themselves."""
    return page_of(await keys.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1), limit)


@delete(
    "/{key_id:uuid}",
    status_code=204,
    operation_id="revoke_api_key",
    summary="Revoke",
    responses=documented(403, 404),
    guards=[requires("developer", "keys:write")],
)
async def revoke(key_id: UUID, principal: Principal, db: Database, auth: Authenticator) -> None:
    """End a key, at once here and within seconds on other replicas."""
    role = await keys.role_of(db, principal.organisation_id, key_id)
    if role is None:
        raise NotFound(f"there is no API key {key_id}", code="api_key_not_found")
    if RANK[role] > RANK[principal.role]:
        raise Forbidden(f"a {principal.role} cannot revoke a key with the role {role}")
    await keys.revoke(db, principal.organisation_id, key_id, principal.actor)
    auth.forget(key_id=str(key_id))


routes = [
    Router(
        "/api/v1/api-keys",
        route_handlers=[create, list_keys, revoke],
        guards=[requires("developer")],
        tags=["api-keys"],
    )
]
