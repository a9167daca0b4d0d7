"""API keys: only their hashes are stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from orchestrator.errors import FieldError, Invalid
from orchestrator.runs.access import Grant
from orchestrator.store import audit, revisions
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import ApiKey, Role

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection


class KeyOwner(Struct, frozen=True):
    """What a valid key stands for."""

    key_id: str
    organisation_id: str
    user_id: str | None
    role: Role
    expires_at: datetime | None
    scopes: list[str] | None = None
    deployment_ids: list[str] | None = None


class NewKey(Struct, frozen=True):
    """A key to be stored. created_by is a user's id, if it was one."""

    organisation_id: str
    name: str
    key_hash: bytes
    hint: str
    role: Role
    created_by: str | None
    expires_at: datetime | None = None
    scopes: list[str] | None = None
    deployment_ids: list[UUID] | None = None


async def owner(db: Database, key_hash: bytes) -> KeyOwner | None:
    """Whose key it is, if it is valid now. A key never ranks higher than its maker does now."""
    row = await db.fetchrow(
        """
        select k.id, k.organisation_id, k.created_by, greatest(k.role, m.role)::text as role, k.scopes,
               k.deployment_ids::text[],
               least(k.expires_at, case when k.key_hash <> $1 then k.previous_until end) as expires_at
        from api_keys k
        left join memberships m on m.user_id = k.created_by and m.organisation_id = k.organisation_id
        where (k.key_hash = $1 or (k.previous_hash = $1 and k.previous_until > now()))
              and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
        """,
        key_hash,
    )
    if row is None:
        return None
    return KeyOwner(
        str(row["id"]),
        str(row["organisation_id"]),
        None if row["created_by"] is None else str(row["created_by"]),
        row["role"],
        row["expires_at"],
        row["scopes"],
        row["deployment_ids"],
    )


async def create(connection: AnyConnection, key: NewKey, actor: str) -> ApiKey:
    """Store a key. Raises Invalid when the organisation has not all of its deployments."""
    await _refuse_foreign(connection, key)
    row = await connection.fetchrow(
        """
        insert into api_keys (id, organisation_id, created_by, name, key_hash, hint, role, expires_at, scopes,
                              deployment_ids)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        returning id, name, hint, role::text as role, created_at, expires_at, last_used_at, revoked_at, scopes,
                  deployment_ids::text[], previous_until
        """,
        uuid7(),
        key.organisation_id,
        key.created_by,
        key.name,
        key.key_hash,
        key.hint,
        key.role,
        key.expires_at,
        key.scopes,
        key.deployment_ids,
    )
    assert row is not None
    subject = f"key:{row['id']}"
    await audit.record(connection, key.organisation_id, actor, "api_key.create", subject, name=key.name, role=key.role)
    return _key(row)


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[ApiKey]:
    """Keys, newest first, revoked ones too."""
    rows = await db.fetch(
        """
        select id, name, hint, role::text as role, created_at, expires_at, last_used_at, revoked_at, scopes,
               deployment_ids::text[], case when previous_until > now() then previous_until end as previous_until
        from api_keys
        where organisation_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_key(row) for row in rows]


async def get(db: Database, organisation_id: str, key_id: UUID) -> ApiKey | None:
    """One key, without its secret."""
    row = await db.fetchrow(
        """
        select id, name, hint, role::text as role, created_at, expires_at, last_used_at, revoked_at, scopes,
               deployment_ids::text[], case when previous_until > now() then previous_until end as previous_until
        from api_keys where organisation_id = $1 and id = $2
        """,
        organisation_id,
        key_id,
    )
    return _key(row) if row else None


async def _refuse_foreign(connection: AnyConnection, key: NewKey) -> None:
    wanted = set(key.deployment_ids or ())
    rows = await connection.fetch(
        "select id from deployments where organisation_id = $1 and id = any($2) and deleted_at is null",
        key.organisation_id,
        list(wanted),
    )
    missing = wanted - {row["id"] for row in rows}
    if missing:
        message = f"there is no deployment {min(map(str, missing))}"
        error = FieldError("deployment_ids", message, "deployment_not_found")
        raise Invalid(f"deployment_ids: {message}", code="deployment_not_found", errors=[error])


async def grant_of(db: Database, organisation_id: str, key_id: UUID) -> Grant | None:
    """What the key may do, or None when there is no such key."""
    row = await db.fetchrow(
        """
        select role::text as role, scopes, deployment_ids::text[] from api_keys
        where organisation_id = $1 and id = $2
        """,
        organisation_id,
        key_id,
    )
    if row is None:
        return None
    scopes, deployments = row["scopes"], row["deployment_ids"]
    return Grant(
        row["role"],
        None if scopes is None else frozenset(scopes),
        None if deployments is None else frozenset(deployments),
    )


class Secret(Struct, frozen=True):
    """A key's new secret, as it is stored; the one before works for grace_s seconds more."""

    key_hash: bytes
    hint: str
    grace_s: int


async def rotate(
    db: Database, organisation_id: str, key_id: UUID, new: Secret, actor: str, expected: int | None = None
) -> ApiKey | None:
    """Exchange the secret of a key; None when it is revoked or has expired. Raises PreconditionFailed."""
    async with db.transaction() as connection:
        await revisions.hold(connection, "API key", organisation_id, key_id, expected)
        row = await connection.fetchrow(
            """
            update api_keys set previous_hash = case when $5 > 0 then key_hash end,
                   previous_until = case when $5 > 0 then now() + $5 * interval '1 second' end,
                   key_hash = $3, hint = $4
            where organisation_id = $1 and id = $2 and revoked_at is null and (expires_at is null or expires_at > now())
            returning id, name, hint, role::text as role, created_at, expires_at, last_used_at, revoked_at, scopes,
                      deployment_ids::text[], previous_until
            """,
            organisation_id,
            key_id,
            new.key_hash,
            new.hint,
            new.grace_s,
        )
        if row is None:
            return None
        await audit.record(connection, organisation_id, actor, "api_key.rotate", f"key:{key_id}", grace_s=new.grace_s)
    return _key(row)


async def revoke(db: Database, organisation_id: str, key_id: UUID, actor: str, expected: int | None = None) -> None:
    """End a key. Doing it again changes nothing. Raises PreconditionFailed."""
    async with db.transaction() as connection:
        await revisions.hold(connection, "API key", organisation_id, key_id, expected)
        changed = await connection.execute(
            "update api_keys set revoked_at = now() where organisation_id = $1 and id = $2 and revoked_at is null",
            organisation_id,
            key_id,
        )
        if changed != "UPDATE 0":
            await audit.record(connection, organisation_id, actor, "api_key.revoke", f"key:{key_id}")


async def touch(db: Database, key_ids: Iterable[str]) -> None:
    """Note that these keys were used just now."""
    await db.execute("update api_keys set last_used_at = now() where id = any($1::uuid[])", list(key_ids))


def _key(row: Record) -> ApiKey:
    return ApiKey(
        id=str(row["id"]),
        name=row["name"],
        hint=row["hint"],
        role=row["role"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
        scopes=row["scopes"],
        deployment_ids=row["deployment_ids"],
        previous_until=row["previous_until"],
    )
