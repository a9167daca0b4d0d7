"""Members of an organisation, invitations to it and the logins of both. Rules are in runs/access.py."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, LiteralString
from uuid import UUID

from msgspec import Struct

from orchestrator.runs.access import Stays, why_member_stays
from orchestrator.store import audit, revisions
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import Invitation, Member, Role, Session

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection

_MEMBER: Final[LiteralString] = """
    select u.id::text, u.email, m.role::text, m.created_at as joined_at, u.name,
           (select max(s.last_used_at) from sessions s
            where s.user_id = u.id and s.organisation_id = m.organisation_id) as last_seen_at
    from memberships m join users u on u.id = m.user_id
    where m.organisation_id = $1
"""
_SESSION: Final[LiteralString] = """
    select s.id::text, s.user_id::text, u.email, s.created_at, s.last_used_at, s.expires_at, s.user_agent
    from sessions s join users u on u.id = s.user_id
    where s.organisation_id = $1 and s.revoked_at is null and s.expires_at > now()
"""


class Actor(Struct, frozen=True):
    """Who asks for a change. name: as the audit log has it."""

    organisation_id: str
    role: Role
    name: str
    user_id: str | None


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Member]:
    """Members, newest account first."""
    rows = await db.fetch(
        _MEMBER + " and ($2::uuid is null or u.id < $2) order by u.id desc limit $3", organisation_id, after, limit
    )
    return [Member(**dict(row)) for row in rows]


async def get(db: Database, organisation_id: str, user_id: UUID) -> Member | None:
    """One member, or None."""
    row = await db.fetchrow(_MEMBER + " and u.id = $2", organisation_id, user_id)
    return Member(**dict(row)) if row else None


async def change(
    db: Database,
    actor: Actor,
    user_id: UUID,
    role: Role | None,
    *,
    keep_keys: bool = False,
    expected: int | None = None,
) -> Literal["done", "absent"] | Stays:
    """Give a member another role, or remove them (None) with their logins and, unless kept, the keys they made.

    Raises PreconditionFailed.
    """
    async with db.transaction() as connection:
        members = await connection.fetch(
            "select user_id, role::text from memberships where organisation_id = $1 order by user_id for update",
            actor.organisation_id,
        )
        roles: dict[UUID, Role] = {row["user_id"]: row["role"] for row in members}
        if user_id not in roles:
            return "absent"
        present = roles.pop(user_id)
        await revisions.hold(connection, "member", actor.organisation_id, user_id, expected)
        refusal = why_member_stays(actor.role, present, role, list(roles.values()).count("owner"))
        if refusal is not None:
            return refusal
        if role is None:
            await _remove(connection, actor, user_id, keep_keys=keep_keys)
        else:
            await _set_role(connection, actor, user_id, present, role)
    return "done"


async def _set_role(connection: AnyConnection, actor: Actor, user_id: UUID, present: Role, role: Role) -> None:
    await connection.execute(
        "update memberships set role = $3 where organisation_id = $1 and user_id = $2",
        actor.organisation_id,
        user_id,
        role,
    )
    subject = f"user:{user_id}"
    changed = {"from": present, "to": role}
    await audit.record(connection, actor.organisation_id, actor.name, "member.change", subject, **changed)


async def _remove(connection: AnyConnection, actor: Actor, user_id: UUID, *, keep_keys: bool) -> None:
    names = (actor.organisation_id, user_id)
    await connection.execute("delete from memberships where organisation_id = $1 and user_id = $2", *names)
    await connection.execute(
        "update sessions set revoked_at = now() where organisation_id = $1 and user_id = $2 and revoked_at is null",
        *names,
    )
    if not keep_keys:
        await connection.execute(
            "update api_keys set revoked_at = now() "
            "where organisation_id = $1 and created_by = $2 and revoked_at is null",
            *names,
        )
    subject = f"user:{user_id}"
    await audit.record(connection, actor.organisation_id, actor.name, "member.remove", subject, kept_keys=keep_keys)


# Invitations


async def invite(
    db: Database, actor: Actor, email: str, role: Role, token_hash: bytes, expires_at: datetime
) -> Invitation | None:
    """Ask somebody to join; an earlier open invitation of the same address ends. None: they are a member already."""
    async with db.transaction() as connection:
        is_member = await connection.fetchval(
            """
            select true from memberships m join users u on u.id = m.user_id
            where m.organisation_id = $1 and u.email = $2
            """,
            actor.organisation_id,
            email,
        )
        if is_member:
            return None
        await connection.execute(
            """
            update invitations set revoked_at = now()
            where organisation_id = $1 and email = $2 and accepted_at is null and revoked_at is null
            """,
            actor.organisation_id,
            email,
        )
        row = await connection.fetchrow(
            """
            insert into invitations (id, organisation_id, email, role, token_hash, created_by, expires_at)
            values ($1, $2, $3, $4, $5, $6, $7)
            returning id::text, email, role::text, created_at, expires_at, accepted_at, revoked_at
            """,
            uuid7(),
            actor.organisation_id,
            email,
            role,
            token_hash,
            actor.user_id,
            expires_at,
        )
        assert row is not None
        subject = f"invitation:{row['id']}"
        await audit.record(connection, actor.organisation_id, actor.name, "member.invite", subject, role=role)
    return Invitation(**dict(row))


async def invitations(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Invitation]:
    """Newest first; accepted, revoked and expired ones too."""
    rows = await db.fetch(
        """
        select id::text, email, role::text, created_at, expires_at, accepted_at, revoked_at from invitations
        where organisation_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [Invitation(**dict(row)) for row in rows]


async def revoke_invitation(db: Database, actor: Actor, invitation_id: UUID) -> bool:
    """End an open invitation; False: there is no such invitation. Doing it again changes nothing."""
    async with db.transaction() as connection:
        row = await connection.fetchrow(
            """
            update invitations set revoked_at = case when accepted_at is null then coalesce(revoked_at, now()) end
            where organisation_id = $1 and id = $2 returning id
            """,
            actor.organisation_id,
            invitation_id,
        )
        if row is None:
            return False
        subject = f"invitation:{invitation_id}"
        await audit.record(connection, actor.organisation_id, actor.name, "member.uninvite", subject)
    return True


class Invited(Struct, frozen=True):
    """Whom an open invitation is for. password_hash None: they have no account yet."""

    id: UUID
    organisation_id: str
    organisation: str
    email: str
    role: Role
    password_hash: str | None


async def invited(db: Database, token_hash: bytes) -> Invited | None:
    """The open invitation of this token."""
    row = await db.fetchrow(
        """
        select i.id, i.organisation_id::text, o.slug as organisation, i.email, i.role::text, u.password_hash
        from invitations i join organisations o on o.id = i.organisation_id
        left join users u on u.email = i.email
        where i.token_hash = $1 and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()
        """,
        token_hash,
    )
    return Invited(**dict(row)) if row else None


async def accept(db: Database, invitation: Invited, new_hash: str | None, name: str) -> bool:
    """Make the invited a member, with an account of this password hash when they have none. False: it was used."""
    async with db.transaction() as connection:
        taken = await connection.fetchval(
            """
            update invitations set accepted_at = now()
            where id = $1 and accepted_at is null and revoked_at is null and expires_at > now() returning true
            """,
            invitation.id,
        )
        if not taken:
            return False
        if new_hash is not None:
            await connection.execute(
                "insert into users (id, email, name, password_hash) values ($1, $2, $3, $4) on conflict do nothing",
                uuid7(),
                invitation.email,
                name,
                new_hash,
            )
        user_id = await connection.fetchval(
            """
            insert into memberships (organisation_id, user_id, role) select $1, id, $3 from users where email = $2
            on conflict do nothing returning user_id
            """,
            invitation.organisation_id,
            invitation.email,
            invitation.role,
        )
        actor, subject = f"user:{user_id}", f"invitation:{invitation.id}"
        await audit.record(connection, invitation.organisation_id, actor, "member.join", subject, role=invitation.role)
    return True


# Logins


async def sessions(
    db: Database, organisation_id: str, user_id: str | None, after: UUID | None, limit: int
) -> list[Session]:
    """Open logins of a user, or (None) of everybody, newest first."""
    rows = await db.fetch(
        _SESSION + " and ($2::uuid is null or s.user_id = $2) and ($3::uuid is null or s.id < $3) "
        "order by s.id desc limit $4",
        organisation_id,
        user_id,
        after,
        limit,
    )
    return [_session(row) for row in rows]


def _session(row: Record) -> Session:
    return Session(**dict(row))


async def owner_of_session(db: Database, organisation_id: str, session_id: UUID) -> tuple[str, Role] | None:
    """Whose open login it is, and their role; None: there is no such login."""
    row = await db.fetchrow(
        """
        select s.user_id::text, m.role::text from sessions s
        join memberships m on m.user_id = s.user_id and m.organisation_id = s.organisation_id
        where s.organisation_id = $1 and s.id = $2 and s.revoked_at is null
        """,
        organisation_id,
        session_id,
    )
    return (row["user_id"], row["role"]) if row else None


async def end_session(db: Database, actor: Actor, session_id: UUID) -> None:
    """End a login of the organisation."""
    async with db.transaction() as connection:
        done = await connection.execute(
            "update sessions set revoked_at = now() where organisation_id = $1 and id = $2 and revoked_at is null",
            actor.organisation_id,
            session_id,
        )
        if done != "UPDATE 0":
            subject = f"session:{session_id}"
            await audit.record(connection, actor.organisation_id, actor.name, "session.revoke", subject)


async def password_of(db: Database, user_id: str) -> tuple[str, str] | None:
    """A user's address and password hash."""
    row = await db.fetchrow("select email, password_hash from users where id = $1 and disabled_at is null", user_id)
    return (row["email"], row["password_hash"]) if row else None


async def set_password(db: Database, actor: Actor, new_hash: str, session_id: str) -> list[str]:
    """Exchange the actor's password and end all their logins but this one; returns the ids of those."""
    async with db.transaction() as connection:
        await connection.execute("update users set password_hash = $2 where id = $1", actor.user_id, new_hash)
        rows = await connection.fetch(
            "update sessions set revoked_at = now() "
            "where user_id = $1 and id <> $2 and revoked_at is null returning id::text",
            actor.user_id,
            session_id,
        )
        subject = f"user:{actor.user_id}"
        await audit.record(connection, actor.organisation_id, actor.name, "user.password", subject)
    return [row["id"] for row in rows]
