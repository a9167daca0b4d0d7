"""POST /api/v1/auth/login, /refresh, /logout and GET /auth/me."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, get, post
from litestar.datastructures import State

from orchestrator.api.problems import documented
from orchestrator.auth import LIMITED, PUBLIC, Authenticator, Principal, address_of
from orchestrator.errors import Unauthorized
from orchestrator.store import users
from orchestrator.store.db import Database
from orchestrator.wire import Login, Me, Refresh, Tokens


@post("/login", status_code=200, opt=PUBLIC, operation_id="login", summary="Log in", responses=documented(400, 429))
async def login(data: Login, request: Request[Any, Any, State], auth: Authenticator) -> Tokens:
    """Trade an e-mail address and a password for an access token and a refresh token."""
    agent = request.headers.get("user-agent", "")
    return await auth.login(data.email, data.password, data.organisation, address_of(request.scope), agent)


@post(
    "/refresh",
    status_code=200,
    opt=LIMITED,
    operation_id="refresh",
    summary="Renew",
    responses=documented(400, 429),
)
async def refresh(data: Refresh, auth: Authenticator) -> Tokens:
    """Trade a refresh token for a new pair. It works once: used twice, it ends the login."""
    return await auth.refresh(data.refresh_token)


@post(
    "/logout",
    status_code=204,
    opt=LIMITED,
    operation_id="logout",
    summary="Log out",
    responses=documented(400, 429),
)
async def logout(data: Refresh, auth: Authenticator) -> None:
    """End the login that the refresh token belongs to."""
    await auth.logout(data.refresh_token)


@get("/me", operation_id="me", summary="Who am I", responses=documented())
async def me(principal: Principal, db: Database) -> Me:
    """Whom the credential stands for."""
    profile = await users.profile(db, principal.organisation_id, principal.user_id)
    if profile is None:
        raise Unauthorized("the organisation of this credential is gone")
    return Me(
        organisation_id=principal.organisation_id,
        organisation=profile.organisation,
        role=principal.role,
        user_id=principal.user_id,
        email=profile.email,
        api_key_id=principal.key_id,
    )


routes = [Router("/api/v1/auth", route_handlers=[login, refresh, logout, me], tags=["auth"])]
