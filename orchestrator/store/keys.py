"""API keys: only their hashes are stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from orchestrator.store import audit
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


class NewKey(Struct, frozen=True):
    """A key to be stored. created_by is a user's id, if it was one."""

    organisation_id: str
    name: str
    key_hash: bytes
    hint: str
    role: Role
    created_by: str | None
    expires_at: datetime | None = None


async def owner(db: Database, key_hash: bytes) -> KeyOwner | None:
    """Whose key it is, if it is valid now."""
    row = await db.fetchrow(
        """
        select id, organisation_id, created_by, role::text as role, expires_at from api_keys
        where key_hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())
        """,
        key_hash,
    )
    if row is None:
        return None
    creator = None if row["created_by"] is None else str(row["created_by"])
    return KeyOwner(str(row["id"]), str(row["organisation_id"]), creator, row["role"], row["expires_at"])


async def create(connection: AnyConnection, key: NewKey, actor: str) -> ApiKey:
    """Store a key."""
    row = await connection.fetchrow(
        """
        insert into api_keys (id, organisation_id, created_by, name, key_hash, hint, role, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        returning id, name, hint, role::text as role, created_at, expires_at, last_used_at, revoked_at
        """,
        uuid7(),
        key.organisation_id,
        key.created_by,
        key.name,
        key.key_hash,
        key.hint,
        key.role,
        key.expires_at,
    )
    assert row is not None
    subject = f"key:{row['id']}"
    await audit.record(connection, key.organisation_id, actor, "api_key.create", subject, name=key.name, role=key.role)
    return _key(row)


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[ApiKey]:
    """Keys, newest first, revoked ones too."""
    rows = await db.fetch(
        """
        select id, name, hint, role::text as role, created_at, expires_at, last_used_at, revoked_at from api_keys
        where organisation_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_key(row) for row in rows]


async def role_of(db: Database, organisation_id: str, key_id: UUID) -> Role | None:
    """The key's role, or None when there is no such key."""
    role: Role | None = await db.fetchval(
        "select role::text from api_keys where organisation_id = $1 and id = $2", organisation_id, key_id
    )
    return role


async def revoke(db: Database, organisation_id: str, key_id: UUID, actor: str) -> None:
    """End a key. Doing it again changes nothing."""
    async with db.transaction() as connection:
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
    )
