"""Files' rows: whose they are, their content's hash, and whether the bytes are stored."""

from __future__ import annotations

import hmac
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from asyncpg import LockNotAvailableError
from msgspec import Struct

from orchestrator.errors import Unavailable
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7

if TYPE_CHECKING:
    from asyncpg import Record


class FileRow(Struct, frozen=True):
    """One file. sha256 is raw; attempt_id is the attempt an output's grant was given to."""

    id: str
    organisation_id: str
    name: str
    content_type: str
    size: int
    sha256: bytes
    stored: bool
    created_at: datetime
    attempt_id: str | None
    purpose: Literal["input", "output"] = "input"


class NewFile(Struct, frozen=True):
    """A file to be noted. provisional: of an attempt that goes on; it stays only as an output of its success."""

    organisation_id: str
    purpose: Literal["input", "output"]
    name: str
    content_type: str
    size: int
    sha256: bytes
    stored: bool
    attempt_id: str | None = None
    provisional: bool = False


class Holder(Struct, frozen=True):
    """An attempt that asks for a grant. holds: it is open and its run is still its own."""

    organisation_id: str
    holds: bool


async def add(db: Database, new: NewFile) -> FileRow:
    """Note a file. Raises Unavailable when it is of content that is being removed at this very moment."""
    try:
        row = await db.fetchrow(
            """
            insert into files
              (id, organisation_id, purpose, state, name, content_type, size, sha256, attempt_id, stored_at,
               provisional_since)
            values ($1, $2, $3, case when $4 then 'stored'::file_state else 'pending' end, $5, $6, $7, $8, $9,
                    case when $4 then now() end, case when $10 then now() end)
            returning *, state = 'stored' as stored
            """,
            uuid7(),
            new.organisation_id,
            new.purpose,
            new.stored,
            new.name,
            new.content_type,
            new.size,
            new.sha256,
            new.attempt_id,
            new.provisional,
        )
    except LockNotAvailableError as error:
        raise Unavailable("this content is being removed: send it again", retry_after_s=1) from error
    assert row is not None
    return file_of(row)


async def get(db: Database, file_id: UUID) -> FileRow | None:
    """A file of whatever organisation: the caller has checked a signature."""
    row = await db.fetchrow("select *, state = 'stored' as stored from files where id = $1", file_id)
    return None if row is None else file_of(row)


async def of_organisation(db: Database, organisation_id: str, file_ids: Sequence[UUID]) -> list[FileRow]:
    """Those of the files that are the organisation's and stored."""
    rows = await db.fetch(
        """
        select *, true as stored from files
        where organisation_id = $1 and id = any($2::uuid[]) and state = 'stored'
        """,
        organisation_id,
        file_ids,
    )
    return [file_of(row) for row in rows]


async def of_attempt(db: Database, attempt_id: UUID, file_ids: Sequence[UUID]) -> list[FileRow]:
    """Those of the files that were granted to the attempt."""
    rows = await db.fetch(
        "select *, state = 'stored' as stored from files where attempt_id = $1 and id = any($2::uuid[])",
        attempt_id,
        file_ids,
    )
    return [file_of(row) for row in rows]


async def of_running(db: Database, organisation_id: str, run_id: UUID, name: str) -> FileRow | None:
    """The newest file of that name that the attempt which holds the run has uploaded so far, whether it arrived yet."""
    row = await db.fetchrow(
        """
        select f.*, f.state = 'stored' as stored from runs r join files f on f.attempt_id = r.attempt_id
        where r.id = $2 and r.organisation_id = $1 and f.organisation_id = $1 and f.name = $3
          and f.provisional_since is not null
        order by f.id desc limit 1
        """,
        organisation_id,
        run_id,
        name,
    )
    return None if row is None else file_of(row)


async def settle(db: Database, limit: int) -> int:
    """Of files that were uploaded before their attempt had ended keep those that are outputs; returns with how many.

    Those of attempts that have ended otherwise are deleted.
    """
    rows = await db.fetch(
        """
        with due as (
          select f.id, exists (select from outputs o where o.file_id = f.id) as made from files f
          where f.provisional_since < now() - interval '1 minute'
            and not exists (select from attempts a where a.id = f.attempt_id and a.state <> 'ended')
          order by f.provisional_since limit $1 for update skip locked
        ), gone as (
          delete from files f using due d where f.id = d.id and not d.made
        ), kept as (
          update files f set provisional_since = null from due d where f.id = d.id and d.made
        )
        select id from due
        """,
        limit,
    )
    return len(rows)


async def has_content(db: Database, organisation_id: str, sha256: bytes, size: int) -> bool:
    """Whether the organisation has this content stored already."""
    return bool(
        await db.fetchval(
            """
            select exists (select from files
              where organisation_id = $1 and sha256 = $2 and size = $3 and state = 'stored')
            """,
            organisation_id,
            sha256,
            size,
        )
    )


async def mark_stored(db: Database, file_ids: Sequence[str]) -> None:
    """The bytes are there, whole and checked."""
    await db.execute(
        "update files set state = 'stored', stored_at = now() where id = any($1::uuid[]) and state = 'pending'",
        list(file_ids),
    )


async def holder(db: Database, attempt_id: UUID, token_hash: bytes) -> Holder | None:
    """The attempt, if the token is its own."""
    row = await db.fetchrow(
        """
        select a.organisation_id, a.token_hash, a.state <> 'ended' and r.attempt_id = a.id as holds
        from attempts a join runs r on r.id = a.run_id where a.id = $1
        """,
        attempt_id,
    )
    if row is None or not hmac.compare_digest(row["token_hash"], token_hash):
        return None
    return Holder(str(row["organisation_id"]), bool(row["holds"]))


async def still_holds(db: Database, attempt_id: UUID) -> bool:
    """Whether the attempt is open and its run still its own."""
    return bool(
        await db.fetchval(
            """
            select exists (select from attempts a join runs r on r.id = a.run_id
              where a.id = $1 and a.state <> 'ended' and r.attempt_id = a.id)
            """,
            attempt_id,
        )
    )


def file_of(row: Record) -> FileRow:
    """A row of files, with whether it is stored."""
    return FileRow(
        id=str(row["id"]),
        organisation_id=str(row["organisation_id"]),
        name=row["name"],
        content_type=row["content_type"],
        size=row["size"],
        sha256=row["sha256"],
        stored=row["stored"],
        created_at=row["created_at"],
        attempt_id=None if row["attempt_id"] is None else str(row["attempt_id"]),
        purpose=sys.intern(row["purpose"]),  # type: ignore[arg-type]
    )


async def drop_stale(db: Database, older_s: float, limit: int) -> int:
    """Forget grants that nobody used for older_s seconds; returns how many. Their bytes, if any, were never kept."""
    dropped = await db.fetch(
        """
        delete from files where id in (
          select id from files where state = 'pending' and created_at < now() - make_interval(secs => $1)
          order by created_at limit $2
        ) returning 1
        """,
        older_s,
        limit,
    )
    return len(dropped)
