"""People whom an OpenID provider names: found by (issuer, subject), linked by their verified address, or made."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from orchestrator.runs.sign_on import Entry, Known, Person, Refused, entry
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.store.users import Account
from orchestrator.wire import Role

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection


class Room(Struct, frozen=True):
    """Where somebody may become a member, as what, and by which invitation, if by one."""

    organisation_id: UUID
    role: Role
    invitation_id: UUID | None = None


async def enter(db: Database, person: Person, organisation: str | None, role: Role) -> Account | Refused:
    """The account that a person logs in to; linked, made a member or made altogether, as the rules say.

    organisation: the slug of the one that people join by their domain alone, with that role; None: by none.
    """
    async with db.transaction() as connection:
        # one at a time for each address: a first login twice at once makes one user
        await connection.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", f"sign-on:{person.email}")
        user = await _user(connection, person)
        invited = await _invited(connection, person.email)
        open_room = await _room(connection, organisation, role)
        how = entry(_known(user, person, invited=invited is not None), anyone=open_room is not None)
        if isinstance(how, Refused):
            return how
        user_id: UUID = user["id"] if user is not None else uuid7()
        if how in ("join_invited", "join_by_domain"):
            await _make(connection, person, user_id)
            await _join(connection, user_id, invited or open_room)
        await _link(connection, person, user_id)
        found = await _account(connection, user_id)
        if how != "log_in":
            await _tell(connection, person, found, how)
    return found


async def _user(connection: AnyConnection, person: Person) -> Record | None:
    """The user of the subject, or else of the address, with the subject that they have of this provider."""
    return await connection.fetchrow(
        """
        select u.id, u.disabled_at is not null as disabled, i.subject,
               exists (select from memberships m where m.user_id = u.id) as member
        from users u left join identities i on i.user_id = u.id and i.issuer = $1
        where u.id = coalesce((select user_id from identities where issuer = $1 and subject = $2),
                              (select id from users where email = $3))
        """,
        person.issuer,
        person.subject,
        person.email,
    )


def _known(user: Record | None, person: Person, *, invited: bool) -> Known:
    if user is None:
        return Known(invited=invited)
    linked = user["subject"] == person.subject
    other = user["subject"] is not None and not linked
    return Known(user["disabled"], linked, other, user["member"], invited)


async def _invited(connection: AnyConnection, email: str) -> Room | None:
    row = await connection.fetchrow(
        """
        select organisation_id, role::text, id as invitation_id from invitations
        where email = $1 and accepted_at is null and revoked_at is null and expires_at > now()
        order by id limit 1 for update
        """,
        email,
    )
    return Room(**dict(row)) if row else None


async def _room(connection: AnyConnection, organisation: str | None, role: Role) -> Room | None:
    organisation_id = await connection.fetchval("select id from organisations where slug = $1", organisation)
    return Room(organisation_id, role) if organisation_id else None


async def _make(connection: AnyConnection, person: Person, user_id: UUID) -> None:
    """A user without a password; the one of an account that nobody is responsible for is forgotten."""
    await connection.execute(
        """
        insert into users (id, email, name, password_hash) values ($1, $2, $3, '')
        on conflict (id) do update set password_hash = '', name = excluded.name
        """,
        user_id,
        person.email,
        person.name,
    )


async def _join(connection: AnyConnection, user_id: UUID, room: Room | None) -> None:
    assert room is not None
    await connection.execute(
        "insert into memberships (organisation_id, user_id, role) values ($1, $2, $3)",
        room.organisation_id,
        user_id,
        room.role,
    )
    if room.invitation_id is not None:
        await connection.execute("update invitations set accepted_at = now() where id = $1", room.invitation_id)


async def _link(connection: AnyConnection, person: Person, user_id: UUID) -> None:
    await connection.execute(
        "delete from identities where user_id = $1 and issuer = $2 and subject <> $3",
        user_id,
        person.issuer,
        person.subject,
    )
    await connection.execute(
        """
        insert into identities (issuer, subject, user_id, email) values ($1, $2, $3, $4)
        on conflict (issuer, subject) do update set email = excluded.email, last_used_at = now()
        """,
        person.issuer,
        person.subject,
        user_id,
        person.email,
    )


async def _account(connection: AnyConnection, user_id: UUID) -> Account:
    """The user in the organisation that they joined first."""
    row = await connection.fetchrow(
        """
        select u.id::text as user_id, u.email, u.password_hash, o.id::text as organisation_id, o.slug as organisation,
               m.role::text as role
        from users u join memberships m on m.user_id = u.id join organisations o on o.id = m.organisation_id
        where u.id = $1 order by m.created_at, o.id limit 1
        """,
        user_id,
    )
    assert row is not None
    return Account(**dict(row))


async def _tell(connection: AnyConnection, person: Person, account: Account, how: Entry) -> None:
    actor = f"user:{account.user_id}"
    if how == "link":
        await audit.record(connection, account.organisation_id, actor, "identity.link", actor, issuer=person.issuer)
        return
    detail = {"role": account.role, "issuer": person.issuer, "by": how.removeprefix("join_")}
    await audit.record(connection, account.organisation_id, actor, "member.join", actor, **detail)
