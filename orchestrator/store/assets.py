"""Assets: files as a client of the Comfy API sees them: with another hash, and the path and words they were given."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from asyncpg import ForeignKeyViolationError, Record
from msgspec import Struct

from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7


class AssetRow(Struct, frozen=True):
    """A stored file. blake3 is None where nobody computed it; job_id is the run that made it."""

    id: str
    name: str
    content_type: str
    size: int
    created_at: datetime
    blake3: bytes | None
    file_path: str
    expires_at: datetime | None
    job_id: str | None


class NewAsset(Struct, frozen=True):
    """What a client says of a file."""

    organisation_id: str
    file_path: str = ""
    tags: list[str] = []
    expires_s: int | None = None


_ASSET: Final[LiteralString] = """
    select f.id, f.name, f.content_type, f.size, f.created_at, h.blake3, coalesce(a.file_path, '') as file_path,
           a.expires_at, t.run_id as job_id
    from files f left join assets a on a.file_id = f.id
    left join content_hashes h on h.organisation_id = f.organisation_id and h.sha256 = f.sha256
    left join attempts t on t.id = f.attempt_id
    where f.organisation_id = $1 and f.state = 'stored'
"""


async def get(db: Database, organisation_id: str, asset_id: str) -> AssetRow | None:
    """One asset, or None when the organisation has no such file."""
    row = await db.fetchrow(_ASSET + " and f.id = $2", organisation_id, asset_id)
    return None if row is None else _asset(row)


async def same(db: Database, new: NewAsset, blake3: bytes) -> AssetRow | None:
    """An uploaded asset of that content and path, if there is one; its retention is extended, never shortened."""
    found = await db.fetchval(
        """
        update assets set expires_at = greatest(expires_at, now() + make_interval(secs => $4))
        where file_id = (
          select a.file_id from assets a join files f on f.id = a.file_id and f.state = 'stored'
          join content_hashes h on h.organisation_id = f.organisation_id and h.sha256 = f.sha256
          where a.organisation_id = $1 and h.organisation_id = $1 and h.blake3 = $2 and a.file_path = $3 limit 1)
        returning file_id
        """,
        new.organisation_id,
        blake3,
        new.file_path,
        new.expires_s,
    )
    return None if found is None else await get(db, new.organisation_id, str(found))


async def content_size(db: Database, organisation_id: str, blake3: bytes) -> int | None:
    """How many bytes the organisation's stored content of this hash has; None: it has no such content."""
    size: int | None = await db.fetchval(
        """
        select f.size from content_hashes h join files f
          on f.organisation_id = h.organisation_id and f.sha256 = h.sha256 and f.state = 'stored'
        where h.organisation_id = $1 and h.blake3 = $2 limit 1
        """,
        organisation_id,
        blake3,
    )
    return size


async def note_hash(db: Database, organisation_id: str, sha256: bytes, blake3: bytes) -> None:
    """Remember a content's other hash."""
    await db.execute(
        "insert into content_hashes (organisation_id, sha256, blake3) values ($1, $2, $3) on conflict do nothing",
        organisation_id,
        sha256,
        blake3,
    )


async def describe(db: Database, file_id: str, new: NewAsset) -> None:
    """Say of an uploaded file what its client said."""
    await db.execute(
        """
        insert into assets (file_id, organisation_id, file_path, tags, expires_at)
        values ($1, $2, $3, $4, now() + make_interval(secs => $5))
        """,
        file_id,
        new.organisation_id,
        new.file_path,
        new.tags,
        new.expires_s,
    )


async def mint(db: Database, new: NewAsset, blake3: bytes, name: str) -> str | None:
    """A new file of content that the organisation has already; its id. None: it has no such content."""
    minted = await db.fetchval(
        """
        insert into files (id, organisation_id, purpose, state, name, content_type, size, sha256, stored_at)
        select $1, f.organisation_id, 'input', 'stored', $4, f.content_type, f.size, f.sha256, now()
        from content_hashes h join files f
          on f.organisation_id = h.organisation_id and f.sha256 = h.sha256 and f.state = 'stored'
        where h.organisation_id = $2 and h.blake3 = $3 limit 1
        returning id
        """,
        uuid7(),
        new.organisation_id,
        blake3,
        name,
    )
    return None if minted is None else str(minted)


async def is_used(db: Database, organisation_id: str, asset_id: str) -> bool:
    """Whether a run made it, or one that has not ended needs it."""
    return bool(
        await db.fetchval(
            """
            select exists (select from outputs where file_id = $2 and organisation_id = $1)
                or exists (select from run_files n join runs r on r.id = n.run_id
                           where n.file_id = $2 and r.organisation_id = $1 and r.ended_at is null)
            """,
            organisation_id,
            asset_id,
        )
    )


async def delete(db: Database, organisation_id: str, asset_id: str) -> bool:
    """Forget an asset; its content stays. False when an output came to hold it meanwhile."""
    try:
        await db.execute("delete from files where organisation_id = $1 and id = $2", organisation_id, asset_id)
    except ForeignKeyViolationError:
        return False
    return True


async def drop_expired(db: Database, limit: int) -> int:
    """Forget assets whose time is over, but for those that a run made or yet needs; returns how many."""
    async with db.transaction() as connection:
        due = await connection.fetch(
            """
            select a.file_id from assets a join files f on f.id = a.file_id
            where a.expires_at < now()
              and not exists (select from outputs o where o.file_id = a.file_id)
              and not exists (select from run_files n join runs r on r.id = n.run_id
                              where n.file_id = a.file_id and r.ended_at is null)
            order by a.expires_at limit $1 for update of a, f skip locked
            """,
            limit,
        )
        await connection.execute("delete from files where id = any($1::uuid[])", [row["file_id"] for row in due])
    return len(due)


class MadeRow(Struct, frozen=True):
    """What a run made: a file, or (file_id None) a value."""

    id: str
    run_id: str
    node_id: str
    kind: str
    created_at: datetime
    file_id: str | None
    name: str | None
    content_type: str | None
    size: int | None
    blake3: bytes | None
    data: Any


_MADE: Final[LiteralString] = """
    select o.id, o.run_id, o.node_id, o.kind, o.created_at, o.file_id, f.name, f.content_type, f.size, h.blake3, o.data
    from outputs o left join files f on f.id = o.file_id and f.organisation_id = o.organisation_id
    left join content_hashes h on h.organisation_id = f.organisation_id and h.sha256 = f.sha256
    where o.organisation_id = $1
"""


async def made(db: Database, organisation_id: str, run_id: str) -> list[MadeRow]:
    """What a run made, in order."""
    return [
        _made(row) for row in await db.fetch(_MADE + " and o.run_id = $2 order by o.ordinal", organisation_id, run_id)
    ]


async def value(db: Database, organisation_id: str, output_id: str) -> MadeRow | None:
    """A value that a run made; None: there is no such one."""
    row = await db.fetchrow(_MADE + " and o.id = $2 and o.file_id is null", organisation_id, output_id)
    return None if row is None or row["data"] is None else _made(row)


def _made(row: Record) -> MadeRow:
    ids = {name: None if row[name] is None else str(row[name]) for name in ("id", "run_id", "file_id")}
    return MadeRow(**{**dict(row), **ids})


def uuid_of(text: str) -> UUID | None:
    """An id in the form that the database takes, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _asset(row: Record) -> AssetRow:
    job_id = row["job_id"]
    return AssetRow(**{**dict(row), "id": str(row["id"]), "job_id": None if job_id is None else str(job_id)})
