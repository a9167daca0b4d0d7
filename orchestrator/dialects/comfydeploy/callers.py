"""Whom a request acts for, by every way in which ComfyDeploy's clients carry their key."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from litestar import Request
from litestar.types import Scope

from orchestrator.auth import COOKIE, Authenticator, Principal, is_cross_site
from orchestrator.errors import Forbidden


async def principal_of(scope: Scope, authenticator: Authenticator) -> Principal | None:
    """By `Authorization`, else `x-api-key`, else (for reading only) `cd_token` in the query, else the session's cookie.

    A scheme's name is not looked at, as the first generation's was not. Raises Forbidden for another site's page.
    """
    request: Request[Any, Any, Any] = Request(scope)
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    carried = credential.strip() or scheme or request.headers.get("x-api-key", "")
    if not carried and scope.get("method") == "GET":
        carried = (parse_qs(scope["query_string"].decode("latin-1")).get("cd_token") or [""])[0]
    if carried:
        return await authenticator.by_bearer(carried)
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    principal = await authenticator.by_cookie(cookie)
    if principal is not None and is_cross_site(scope):
        raise Forbidden("a page of another site may not act with this cookie", code="cross_site")
    return principal
