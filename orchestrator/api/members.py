"""Members under /api/v1/members and invitations under /api/v1/invitations.

Who may decide about whom is in runs/access.py; an invitation is accepted under /api/v1/auth.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from litestar import Response, Router, delete, get, patch, post
from litestar.params import Parameter

from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Authenticator, Principal, actor_of, requires
from orchestrator.errors import ApiProblem, Conflict, Forbidden, NotFound
from orchestrator.runs.access import RANK, Stays
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import members, revisions
from orchestrator.store.db import Database
from orchestrator.store.ids import digest, token
from orchestrator.wire import Invitation, InvitationCreate, Member, MemberUpdate, Page, Role

INVITATION_LIFE: Final = timedelta(days=7)

KeepKeys = Annotated[bool, Parameter(description="Let the API keys that the member made go on working.")]


def _absent(user_id: UUID) -> NotFound:
    return NotFound(f"there is no member {user_id}", code="member_not_found")


def _stays(why: Stays) -> ApiProblem:
    if why == "last_owner":
        return Conflict("an organisation keeps at least one owner", code="last_owner")
    return Forbidden("only an owner decides who is one", code="owner_decides")


@get(
    operation_id="list_members",
    summary="List members",
    opt=requires("viewer", "members:read"),
    responses=documented(400, 403),
)
async def list_members(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[Member]:
    """Newest account first."""
    return page_of(await members.page(db, principal.organisation_id, decode_cursor(cursor), limit + 1), limit)


async def _shown(
    db: Database, principal: Principal, user_id: UUID, if_none_match: str | None = None
) -> Response[Member]:
    revision = await revisions.present(db, "member", principal.organisation_id, user_id)
    member = await members.get(db, principal.organisation_id, user_id)
    if member is None:
        raise _absent(user_id)
    return tagged(member, revision, if_none_match=if_none_match)


@get(
    "/{user_id:uuid}",
    operation_id="get_member",
    summary="One member",
    opt=requires("viewer", "members:read"),
    responses={**documented(403, 404), **UNCHANGED},
)
async def get_member(
    user_id: UUID, principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[Member]:
    """One member; the ETag names this state of the membership."""
    return await _shown(db, principal, user_id, if_none_match)


@patch(
    "/{user_id:uuid}",
    operation_id="update_member",
    summary="Give a member another role",
    opt=requires("admin", "members:write"),
    responses=documented(400, 403, 404, 409, 412),
)
async def update(
    user_id: UUID,
    data: MemberUpdate,
    principal: Principal,
    db: Database,
    auth: Authenticator,
    if_match: IfMatch = None,
) -> Response[Member]:
    """At once here and within seconds on other replicas; API keys that the member made never rank higher either."""
    await _change(db, principal, user_id, data.role, keep_keys=True, seen=expected(if_match))
    auth.forget(user_id=str(user_id))
    return await _shown(db, principal, user_id)


@delete(
    "/{user_id:uuid}",
    status_code=204,
    operation_id="remove_member",
    summary="Remove a member",
    opt=requires("admin", "members:write"),
    responses=documented(403, 404, 409, 412),
)
async def remove(
    user_id: UUID,
    principal: Principal,
    db: Database,
    auth: Authenticator,
    keep_keys: KeepKeys = False,
    if_match: IfMatch = None,
) -> None:
    """Their logins end, and the API keys they made unless `keep_keys` is given. What they made stays."""
    await _change(db, principal, user_id, None, keep_keys=keep_keys, seen=expected(if_match))
    auth.forget(user_id=str(user_id))


async def _change(
    db: Database, principal: Principal, user_id: UUID, role: Role | None, *, keep_keys: bool, seen: int | None
) -> None:
    done = await members.change(db, actor_of(principal), user_id, role, keep_keys=keep_keys, expected=seen)
    if done == "absent":
        raise _absent(user_id)
    if done != "done":
        raise _stays(done)


@post(
    operation_id="create_invitation",
    summary="Invite somebody",
    opt=requires("admin", "members:write"),
    responses=documented(400, 403, 409),
)
async def invite(data: InvitationCreate, principal: Principal, db: Database) -> Invitation:
    """The answer holds the token, once; give it to the person. An earlier open invitation of the address ends."""
    if RANK[data.role] > RANK[principal.role]:
        raise Forbidden(f"a {principal.role} cannot invite a member with the role {data.role}", code="owner_decides")
    secret, expires_at = token("cfi"), datetime.now(UTC) + INVITATION_LIFE
    email = data.email.lower()
    made = await members.invite(db, actor_of(principal), email, data.role, digest(secret), expires_at)
    if made is None:
        raise Conflict(f"{email} is a member already", code="already_member")
    made.token = secret
    return made


@get(
    operation_id="list_invitations",
    summary="List invitations",
    opt=requires("admin", "members:read"),
    responses=documented(400, 403),
)
async def list_invitations(
    principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20
) -> Page[Invitation]:
    """Newest first; accepted, revoked and expired ones too."""
    after = decode_cursor(cursor)
    return page_of(await members.invitations(db, principal.organisation_id, after, limit + 1), limit)


@delete(
    "/{invitation_id:uuid}",
    status_code=204,
    operation_id="revoke_invitation",
    summary="Revoke an invitation",
    opt=requires("admin", "members:write"),
    responses=documented(403, 404),
)
async def revoke(invitation_id: UUID, principal: Principal, db: Database) -> None:
    """Its token works no more. One that was accepted stays accepted."""
    if not await members.revoke_invitation(db, actor_of(principal), invitation_id):
        raise NotFound(f"there is no invitation {invitation_id}", code="invitation_not_found")


routes = [
    Router("/api/v1/members", route_handlers=[list_members, get_member, update, remove], tags=["members"]),
    Router("/api/v1/invitations", route_handlers=[invite, list_invitations, revoke], tags=["members"]),
]
