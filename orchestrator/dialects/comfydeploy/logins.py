"""How the ComfyUI plugin gets a key: it makes an id and opens our page with it, a user who is logged in grants it,
and the plugin collects the key, once and within a minute.

Both generations' addresses: pages /auth-request/<id> and /auth/request/<id>, answers /api/auth-response/<id> and
/api/platform/comfyui/auth-response. API keys as ComfyDeploy's dashboard makes them are JWTs; ours are stored hashed.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template
from msgspec import Struct

from orchestrator.auth import LIMITED, PUBLIC, Authenticator, Principal, only_logins, requires
from orchestrator.config import Config
from orchestrator.credentials import hint_of
from orchestrator.errors import ApiProblem, FieldError, Forbidden, Gone, Invalid, NotFound
from orchestrator.runs.access import excess, handed_on
from orchestrator.store import keys
from orchestrator.store import plugin_logins as store
from orchestrator.store.db import Database
from orchestrator.store.ids import digest
from orchestrator.wire import ApiKey

GRANT_S: Final = 60.0
KEY_LIFE_S: Final = 7 * 86400.0
OPTIONAL: Final[dict[str, Any]] = {**PUBLIC, "optional_principal": True}
NAME: Final = "ComfyUI plugin"
SHORTEST: Final = 20
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}
Asking = Request[Principal, Any, State]


class KeyCreate(Struct):
    """Body of POST /api/platform/api-keys."""

    name: str


class NewKey(Struct):
    """A key, shown once."""

    key: str
    id: str
    name: str


class ListedKey(Struct):
    """A key without itself."""

    id: str
    name: str
    key: str
    created_at: datetime
    updated_at: datetime
    revoked: bool


class Login(Struct):
    """What the plugin keeps."""

    api_key: str
    name: str


class GrantRequest(Struct):
    """Body of POST /api/platform/comfyui/auth-request."""

    request_id: str


async def make_key(
    db: Database, auth: Authenticator, holder: Principal, name: str, expires_at: datetime | None, actor: str
) -> tuple[str, ApiKey]:
    """A key in the form of a JWT that may do what its holder may, as a developer at most. Raises Forbidden."""
    role = "developer" if holder.may("developer") else holder.role
    grant = handed_on(holder.grant, role, None, None)
    beyond = excess(holder.grant, grant)
    if beyond is not None:
        raise Forbidden(f"a key cannot be given more than its maker has: {beyond}", code="key_exceeds_maker")
    secret = auth.key_as_token(
        holder.user_id, holder.organisation_id, expires_at.timestamp() if expires_at is not None else None
    )
    row = keys.NewKey(
        holder.organisation_id,
        name,
        digest(secret),
        hint_of(secret),
        role,
        holder.user_id,
        expires_at,
        None if grant.scopes is None else sorted(grant.scopes),
        None if grant.deployment_ids is None else [UUID(text) for text in sorted(grant.deployment_ids)],
    )
    async with db.transaction() as connection:
        made = await keys.create(connection, row, actor)
    return secret, made


# Keys


@post("/platform/api-keys", status_code=200, opt=requires("developer", "keys:write"))
async def create_key(data: KeyCreate, request: Asking, db: Database, auth: Authenticator) -> NewKey:
    """Make a key."""
    name = data.name.strip()
    if not 1 <= len(name) <= 200:
        raise Invalid("a name has 1 to 200 characters", errors=[FieldError("name", "has 1 to 200 characters")])
    secret, made = await make_key(db, auth, request.user, name, None, request.user.actor)
    return NewKey(secret, made.id, made.name)


@get("/platform/api-keys", opt=requires("developer", "keys:read"))
async def list_keys(request: Asking, db: Database) -> list[ListedKey]:
    """The newest hundred, masked."""
    found = await keys.page(db, request.user.organisation_id, None, 100)
    return [
        ListedKey(key.id, key.name, key.hint, key.created_at, key.created_at, key.revoked_at is not None)
        for key in found
    ]


@delete("/platform/api-keys/{key_id:uuid}", status_code=200, opt=requires("developer", "keys:write"))
async def revoke_key(key_id: UUID, request: Asking, db: Database, auth: Authenticator) -> dict[str, str]:
    """Revoke a key that may do no more than the caller."""
    grant = await keys.grant_of(db, request.user.organisation_id, key_id)
    if grant is None:
        raise NotFound(f"there is no API key {key_id}", code="api_key_not_found")
    if not request.user.may(grant.role):
        raise Forbidden(f"a {request.user.role} cannot revoke a key with the role {grant.role}")
    await keys.revoke(db, request.user.organisation_id, key_id, request.user.actor)
    auth.forget(key_id=str(key_id))
    return {"message": "success"}


# The plugin's login


def _name_of(request_id: str) -> bytes:
    """What is stored of the plugin's id. One that could be guessed is refused: whoever knows it gets the key."""
    if not SHORTEST <= len(request_id) <= 100 or not request_id.isascii():
        raise NotFound("there is no such request", code="grant_not_found")
    return digest(f"plugin login {request_id}")


async def _collected(db: Database, auth: Authenticator, granted: store.Granted) -> Login:
    expires_at = datetime.fromtimestamp(time.time() + KEY_LIFE_S, UTC)
    holder = Principal(granted.organisation_id, "developer", granted.user_id)
    secret, _ = await make_key(db, auth, holder, NAME, expires_at, holder.actor)
    return Login(secret, granted.organisation)


@get("/auth-response/{request_id:str}", opt=LIMITED)
async def collect_first(request_id: str, db: Database, auth: Authenticator) -> Response[Any]:
    """The first generation: 201 until it is granted and after it was collected, 200 with the key in between."""
    found = await store.collect(db, _name_of(request_id))
    if isinstance(found, store.Granted):
        return Response(await _collected(db, auth, found), status_code=200, headers={"Cache-Control": "no-store"})
    message = "Not ready yet." if found == "absent" else "Already used."
    return Response({"message": message}, status_code=201)


@get("/platform/comfyui/auth-response", opt=LIMITED)
async def collect_second(request_id: str, db: Database, auth: Authenticator) -> Response[Login]:
    """The second generation: 404 until it is granted, 410 once it was collected or is too old, 200 with the key."""
    found = await store.collect(db, _name_of(request_id))
    if found == "absent":
        raise NotFound("the request was not granted yet", code="grant_not_found")
    if not isinstance(found, store.Granted):
        raise Gone("the request was collected before, or is too old: log in again", code="grant_used")
    return Response(await _collected(db, auth, found), headers={"Cache-Control": "no-store"})


@post("/platform/comfyui/auth-request", status_code=200, opt=requires("developer", "keys:write"), guards=[only_logins])
async def grant_by_api(data: GrantRequest, request: Asking, db: Database) -> dict[str, str]:
    """Grant a request, for a page of one's own. A session's cookie works from our own origin only."""
    await _grant(db, request.user, data.request_id)
    return {"status": "success"}


async def _grant(db: Database, principal: Principal, request_id: str) -> None:
    if principal.user_id is None:
        raise Forbidden("only a user grants a login")
    name = _name_of(request_id)
    if not await store.grant(db, name, principal.organisation_id, principal.user_id, GRANT_S, principal.actor):
        raise Gone("this request was granted before: begin again in ComfyUI", code="grant_used")


# The page


def _page(status: int = 200, **context: Any) -> Template:
    shown = {"error": "", "granted": False, "asked": False, "code": "", "path": "", **context}
    return Template(template_name="grant.html", context=shown, status_code=status, headers=HEADERS)


@get(["/auth-request/{request_id:str}", "/auth/request/{request_id:str}"], opt=OPTIONAL)
async def grant_page(request_id: str, request: Asking, principal: Principal | None) -> Response[Any]:
    """Asks a user who is logged in; sends anybody else to log in and come back."""
    _name_of(request_id)
    if principal is None or principal.user_id is None or principal.key_id is not None:
        here = quote(request.url.path, safe="")
        return Redirect(f"/dashboard-session/renew?next_page={here}", status_code=303)
    return _page(path=request.url.path, asked=principal.may("developer"), code=request_id[:8])


@post(
    ["/auth-request/{request_id:str}", "/auth/request/{request_id:str}"],
    status_code=200,
    opt=requires("developer", "keys:write"),
    guards=[only_logins],
)
async def grant_by_page(request_id: str, request: Asking, db: Database, config: Config) -> Template:
    """The button. A form of another site is refused before this: the cookie works from our own origin only."""
    _same_origin(request, config)
    await _grant(db, request.user, request_id)
    return _page(granted=True)


def _same_origin(request: Asking, config: Config) -> None:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "").rstrip("/")
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}", config.base_url}
    if site != "same-origin" and (site is not None or origin not in own):
        raise Forbidden("this form was not sent by a page of ours", code="cross_site")


def _problem(_request: Request[Any, Any, Any], error: ApiProblem) -> Template:
    return _page(error.status, error=error.detail or error.title)


def _framework(_request: Request[Any, Any, Any], error: HTTPException) -> Template:
    return _page(error.status_code, error=error.detail)


handlers: Final = [create_key, list_keys, revoke_key, collect_first, collect_second, grant_by_api]
pages: Final = Router(
    "/",
    route_handlers=[grant_page, grant_by_page],
    exception_handlers={ApiProblem: _problem, HTTPException: _framework},
    include_in_schema=False,
)
