"""Logins under /api/v1/auth: log in, renew, log out, join by an invitation, my password, my logins, who am I."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Router, delete, get, post
from litestar.datastructures import State

from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import LIMITED, PUBLIC, Authenticator, Principal, actor_of, address_of, only_logins
from orchestrator.errors import FieldError, Gone, Invalid, NotFound, Unauthorized
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import members, users
from orchestrator.store.db import Database
from orchestrator.store.ids import digest
from orchestrator.wire import (
    SHORTEST_PASSWORD,
    InvitationAccept,
    Login,
    Me,
    Page,
    PasswordChange,
    Refresh,
    Session,
    Tokens,
)


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


@post(
    "/accept-invitation",
    status_code=200,
    opt=LIMITED,
    operation_id="accept_invitation",
    summary="Join an organisation",
    responses=documented(400, 410, 429),
)
async def accept(
    data: InvitationAccept, request: Request[Any, Any, State], db: Database, auth: Authenticator
) -> Tokens:
    """Trade an invitation's token for a login. A new user sets a password by it; an old one gives theirs."""
    invitation = await members.invited(db, digest(data.token))
    if invitation is None:
        raise _gone()
    new_hash, address = None, address_of(request.scope)
    await auth.limit_login(invitation.email, address)
    if invitation.password_hash is None:
        _check_new(data.password)
        new_hash = await auth.passwords.hash(data.password)
    elif not await auth.passwords.fits(data.password, invitation.password_hash):
        raise Unauthorized("there is an account of this address, and this is not its password", code="bad_login")
    if not await members.accept(db, invitation, new_hash, data.name):
        raise _gone()
    agent = request.headers.get("user-agent", "")
    return await auth.login(invitation.email, data.password, invitation.organisation, address, agent)


def _gone() -> Gone:
    return Gone("the invitation is unknown, used, revoked or expired", code="invitation_gone")


def _check_new(password: str) -> None:
    if len(password) < SHORTEST_PASSWORD:
        message = f"needs at least {SHORTEST_PASSWORD} characters"
        raise Invalid(f"password: {message}", errors=[FieldError("password", message)])


@post(
    "/password",
    status_code=204,
    guards=[only_logins],
    operation_id="change_password",
    summary="Change my password",
    responses=documented(400, 403, 429),
)
async def change_password(
    data: PasswordChange, request: Request[Principal, Any, State], db: Database, auth: Authenticator
) -> None:
    """Ends all other logins of the user."""
    principal = request.user
    await auth.check_password(principal, data.current_password, address_of(request.scope))
    new_hash = await auth.passwords.hash(data.new_password)
    ended = await members.set_password(db, actor_of(principal), new_hash, principal.session_id or "")
    for session_id in ended:
        auth.forget(session_id=session_id)


@get(
    "/sessions",
    guards=[only_logins],
    operation_id="list_my_sessions",
    summary="My logins",
    responses=documented(400, 403),
)
async def list_sessions(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[Session]:
    """The open logins of the user in this organisation, newest first."""
    after = decode_cursor(cursor)
    found = await members.sessions(db, principal.organisation_id, principal.user_id, after, limit + 1)
    for session in found:
        session.current = session.id == principal.session_id
    return page_of(found, limit)


@delete(
    "/sessions/{session_id:uuid}",
    status_code=204,
    guards=[only_logins],
    operation_id="end_my_session",
    summary="End one of my logins",
    responses=documented(403, 404),
)
async def end_session(session_id: UUID, principal: Principal, db: Database, auth: Authenticator) -> None:
    """At once here and within seconds on other replicas."""
    owner = await members.owner_of_session(db, principal.organisation_id, session_id)
    if owner is None or owner[0] != principal.user_id:
        raise NotFound(f"there is no login {session_id}", code="session_not_found")
    await members.end_session(db, actor_of(principal), session_id)
    auth.forget(session_id=str(session_id))


routes = [
    Router(
        "/api/v1/auth",
        route_handlers=[login, refresh, logout, me, accept, change_password, list_sessions, end_session],
        tags=["auth"],
    )
]
