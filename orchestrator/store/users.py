"""Users, their memberships and their logins (sessions with rotating refresh tokens)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import Role

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection

FIRST_ADMIN_LOCK = 7_204_301


class Account(Struct, frozen=True):
    """A user who may log in, with one membership."""

    user_id: str
    email: str
    password_hash: str
    organisation_id: str
    organisation: str
    role: Role


class Member(Struct, frozen=True):
    """A live login's place in its organisation."""

    role: Role


class Rotated(Struct, frozen=True):
    """A refresh token was taken and replaced by another of the same session."""

    session_id: str
    user_id: str
    organisation_id: str


class Profile(Struct, frozen=True):
    """Names behind the ids of a credential."""

    organisation: str
    email: str | None


async def account(db: Database, email: str, organisation: str | None) -> Account | None:
    """The user with this address in the organisation of that slug, or in the first one joined."""
    row = await db.fetchrow(
        """
        select u.id, u.email, u.password_hash, o.id as organisation_id, o.slug, m.role::text as role
        from users u
        join memberships m on m.user_id = u.id
        join organisations o on o.id = m.organisation_id
        where u.email = lower($1) and u.disabled_at is null and ($2::text is null or o.slug = $2)
        order by m.created_at, o.id limit 1
        """,
        email,
        organisation,
    )
    if row is None:
        return None
    return Account(
        str(row["id"]), row["email"], row["password_hash"], str(row["organisation_id"]), row["slug"], row["role"]
    )


async def open_session(
    db: Database, account: Account, refresh_hash: bytes, expires_at: datetime, user_agent: str, **how: str
) -> str:
    """Start a login; returns the session's id."""
    session_id = uuid7()
    async with db.transaction() as connection:
        await connection.execute(
            "insert into sessions (id, user_id, organisation_id, user_agent, expires_at) values ($1, $2, $3, $4, $5)",
            session_id,
            account.user_id,
            account.organisation_id,
            user_agent[:400],
            expires_at,
        )
        await connection.execute(
            "insert into refresh_tokens (token_hash, session_id) values ($1, $2)", refresh_hash, session_id
        )
        actor = f"user:{account.user_id}"
        await audit.record(connection, account.organisation_id, actor, "session.open", f"session:{session_id}", **how)
    return str(session_id)


async def rotate(db: Database, used_hash: bytes, new_hash: bytes) -> Rotated | None:
    """Trade a refresh token for another. A token used before revokes its whole session: one of two users stole it."""
    async with db.transaction() as connection:
        row = await connection.fetchrow(
            """
            select t.used_at, s.id, s.user_id, s.organisation_id, s.revoked_at is null and s.expires_at > now() as live
            from refresh_tokens t join sessions s on s.id = t.session_id
            where t.token_hash = $1 for update of t, s
            """,
            used_hash,
        )
        if row is None or not row["live"]:
            return None
        if row["used_at"] is not None:
            await connection.execute("update sessions set revoked_at = now() where id = $1", row["id"])
            subject = f"session:{row['id']}"
            await audit.record(connection, str(row["organisation_id"]), "system", "session.reuse_detected", subject)
            return None
        await connection.execute("update refresh_tokens set used_at = now() where token_hash = $1", used_hash)
        await connection.execute(
            "insert into refresh_tokens (token_hash, session_id) values ($1, $2)", new_hash, row["id"]
        )
        await connection.execute("update sessions set last_used_at = now() where id = $1", row["id"])
    return Rotated(str(row["id"]), str(row["user_id"]), str(row["organisation_id"]))


async def close_by_refresh(db: Database, refresh_hash: bytes) -> str | None:
    """End the login that the refresh token belongs to; returns its id."""
    session_id = await db.fetchval(
        """
        update sessions set revoked_at = coalesce(revoked_at, now())
        where id = (select session_id from refresh_tokens where token_hash = $1) returning id
        """,
        refresh_hash,
    )
    return None if session_id is None else str(session_id)


async def close_session(db: Database, session_id: str) -> None:
    """End a login."""
    await db.execute("update sessions set revoked_at = coalesce(revoked_at, now()) where id = $1", session_id)


async def member(db: Database, session_id: str, user_id: str, organisation_id: str) -> Member | None:
    """What the user of a login may do now; None when it was ended, or the user removed or disabled."""
    role = await db.fetchval(
        """
        select m.role::text from sessions s
        join users u on u.id = s.user_id and u.disabled_at is null
        join memberships m on m.user_id = s.user_id and m.organisation_id = s.organisation_id
        where s.id = $1 and s.user_id = $2 and s.organisation_id = $3
          and s.revoked_at is null and s.expires_at > now()
        """,
        session_id,
        user_id,
        organisation_id,
    )
    return None if role is None else Member(role)


async def profile(db: Database, organisation_id: str, user_id: str | None) -> Profile | None:
    """Names behind the ids of a credential."""
    row = await db.fetchrow(
        "select o.slug, (select email from users where id = $2) as email from organisations o where o.id = $1",
        organisation_id,
        user_id,
    )
    return None if row is None else Profile(row["slug"], row["email"])


async def any_user(connection: AnyConnection) -> bool:
    """Whether somebody can log in already. Waits for whoever is making the first admin in another process."""
    await connection.execute("select pg_advisory_xact_lock($1)", FIRST_ADMIN_LOCK)
    return bool(await connection.fetchval("select exists (select from users)"))


async def create_owner(connection: AnyConnection, email: str, password_hash: str, organisation: str) -> tuple[str, str]:
    """A new organisation and its owner; returns (organisation id, user id)."""
    organisation_id, user_id = uuid7(), uuid7()
    await connection.execute(
        "insert into organisations (id, name, slug) values ($1, $2, $2)", organisation_id, organisation
    )
    await connection.execute(
        "insert into users (id, email, password_hash) values ($1, lower($2), $3)", user_id, email, password_hash
    )
    await connection.execute(
        "insert into memberships (organisation_id, user_id, role) values ($1, $2, 'owner')", organisation_id, user_id
    )
    await audit.record(connection, str(organisation_id), "system", "organisation.create", f"user:{user_id}")
    return str(organisation_id), str(user_id)
