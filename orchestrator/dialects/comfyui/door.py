"""Who a ComfyUI client is: an API key (header or `?token=`), or a browser that opened a one-time link.

A link is made by the native API, opened once, and leaves a cookie that is good under this prefix only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State
from litestar.enums import MediaType
from litestar.types import Scope
from msgspec import Struct

from orchestrator.auth import LIMITED, Authenticator, Principal, cookie_is_secure, is_cross_site, requires
from orchestrator.config import Config
from orchestrator.dialects.comfyui.by_host import OWN_HOST, PREFIX, address_of
from orchestrator.errors import Forbidden, Gone
from orchestrator.store import comfyui
from orchestrator.store.comfyui import NewLink, Sender
from orchestrator.store.db import Database
from orchestrator.store.ids import digest, token

COOKIE: Final = "cf_comfy"
CODE_S: Final = 600
LIFE_S: Final = 12 * 3600
SCOPES: Final = frozenset(
    {
        "runs:read",
        "runs:write",
        "files:read",
        "files:write",
        "machines:read",
        "workflows:read",
        "workflows:write",
    }
)
"""What a browser may do at most; under the facade only, where nothing else is."""


class Link(Struct):
    """A link that opens the facade in one browser, once, until it runs out."""

    url: str
    expires_at: datetime


def sender_of(principal: Principal) -> Sender:
    """Whose prompts a request is about."""
    return Sender(principal.organisation_id, principal.actor)


async def principal_of(scope: Scope, authenticator: Authenticator) -> Principal | None:
    """Whom a request's header, `?token=` or cookie stands for. Raises Forbidden for another site's page."""
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await authenticator.by_bearer(bearer.strip())
    asked = connection.query_params.get("token")
    if asked:
        return await authenticator.by_bearer(asked)
    cookie = connection.cookies.get(COOKIE)
    if not cookie:
        return None
    guest = await comfyui.guest(connection.app.state.services.db, digest(cookie))
    if guest is None:
        return None
    if is_cross_site(scope):
        raise Forbidden("a page of another site may not act with this cookie", code="cross_site")
    kind, _, name = guest.sender.partition(":")
    key_id = name if kind == "key" else None
    return Principal(guest.organisation_id, guest.role, guest.user_id, key_id, scopes=frozenset(guest.scopes))


OPT: Final[dict[str, Any]] = {"principal_by": principal_of}


@post(
    "/api/v1/comfyui-links",
    opt=requires("developer", "runs:write"),
    operation_id="create_comfyui_link",
    include_in_schema=False,
)
async def create_link(principal: Principal, db: Database, config: Config) -> Link:
    """A one-time link into the facade, for a browser that cannot send a header. It acts for whoever made it."""
    code = token("cfl")
    new = NewLink(
        organisation_id=principal.organisation_id,
        sender=principal.actor,
        created_by=principal.user_id,
        role=principal.role,
        scopes=sorted(SCOPES if principal.scopes is None else SCOPES & principal.scopes),
        code_hash=digest(code),
        code_s=CODE_S,
        life_s=LIFE_S,
    )
    return Link(f"{address_of(config)}/enter?code={code}", await comfyui.add_link(db, new))


@get(f"{PREFIX}/enter", opt=LIMITED, include_in_schema=False)
async def enter(code: str, request: Request[Any, Any, State], db: Database, config: Config) -> Response[bytes]:
    """Trade a link's code for a cookie."""
    secret = token("cfg")
    until = await comfyui.trade_link(db, digest(code), digest(secret))
    if until is None:
        raise Gone("the link is unknown, was used, or is too old: make a new one", code="link_gone")
    place = "" if request.scope.get("state", {}).get(OWN_HOST) else PREFIX
    cookie = Cookie(
        key=COOKIE,
        value=secret,
        path=place or "/",
        max_age=max(1, int((until - datetime.now(UTC)).total_seconds())),
        secure=cookie_is_secure(config),
        httponly=True,
        samesite="lax",
    )
    headers = {"Location": f"{place}/", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(b"", status_code=303, media_type=MediaType.TEXT, headers=headers, cookies=[cookie])
