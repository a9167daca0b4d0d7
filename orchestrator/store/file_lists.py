"""Files listed, found by their content, and deleted; and the contents that no file has any more."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from orchestrator.errors import Conflict
from orchestrator.store import audit
from orchestrator.store.files import FileRow, file_of

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection, Database


class FileInUse(Conflict):
    """A run that has not ended needs the file, or makes it."""

    code = "file_in_use"


class Content(Struct, frozen=True):
    """Bytes of an organisation."""

    organisation_id: str
    sha256: bytes


async def page(
    db: Database, organisation_id: str, before: UUID | None, limit: int, *, purpose: str | None, name: str | None
) -> list[FileRow]:
    """Stored files, newest first. name: a part of theirs, whatever its case."""
    rows = await db.fetch(
        """
        select *, true as stored from files
        where organisation_id = $1 and state = 'stored' and ($2::uuid is null or id < $2)
          and ($3::file_purpose is null or purpose = $3)
          and ($4::text is null or position(lower($4) in lower(name)) > 0)
        order by id desc limit $5
        """,
        organisation_id,
        before,
        purpose,
        name,
        limit,
    )
    return [file_of(row) for row in rows]


async def delete(db: Database, organisation_id: str, file_id: UUID, actor: str) -> bool:
    """Forget a file; outputs that were it lose it. False: there is no such file. Raises FileInUse."""
    async with db.transaction() as connection:
        name = await connection.fetchval(
            "select name from files where organisation_id = $1 and id = $2 and state = 'stored' for update",
            organisation_id,
            file_id,
        )
        if name is None:
            return False
        if await _is_needed(connection, file_id):
            raise FileInUse("a run that has not ended needs this file, or makes it: cancel it, or wait for its end")
        await connection.execute("update outputs set file_id = null where file_id = $1", file_id)
        await connection.execute("delete from files where id = $1", file_id)
        await audit.record(connection, organisation_id, actor, "file.delete", f"file:{file_id}", name=name)
    return True


async def _is_needed(connection: AnyConnection, file_id: UUID) -> bool:
    return bool(
        await connection.fetchval(
            """
            select exists (select from run_files n join runs r on r.id = n.run_id
                           where n.file_id = $1 and r.ended_at is null)
                or exists (select from files f join attempts a on a.id = f.attempt_id
                           where f.id = $1 and a.state <> 'ended')
            """,
            file_id,
        )
    )


async def begin_removing(db: Database, grace_s: float, limit: int) -> list[Content]:
    """Contents that lost a file grace_s seconds ago and have none: from now on no file can be made of them.

    Those that have a file are forgotten here. A removal that was begun and not ended is begun again after the grace.
    """
    async with db.transaction() as connection:
        due = await connection.fetch(
            """
            select organisation_id, sha256 from doomed_contents
            where doomed_at < now() - make_interval(secs => $1)
              and (removing_at is null or removing_at < now() - make_interval(secs => $1))
            order by doomed_at limit $2 for update skip locked
            """,
            grace_s,
            limit,
        )
        columns = [row["organisation_id"] for row in due], [row["sha256"] for row in due]
        await connection.execute(
            """
            delete from doomed_contents d using unnest($1::uuid[], $2::bytea[]) as u(organisation_id, sha256)
            where d.organisation_id = u.organisation_id and d.sha256 = u.sha256 and exists (
              select from files f
              where f.organisation_id = d.organisation_id and f.sha256 = d.sha256 and f.state = 'stored')
            """,
            *columns,
        )
        rows = await connection.fetch(
            """
            update doomed_contents d set removing_at = now()
            from unnest($1::uuid[], $2::bytea[]) as u(organisation_id, sha256)
            where d.organisation_id = u.organisation_id and d.sha256 = u.sha256
            returning d.organisation_id, d.sha256
            """,
            *columns,
        )
    return [Content(str(row["organisation_id"]), row["sha256"]) for row in rows]


async def removed(db: Database, content: Content) -> None:
    """The bytes are gone: the same content may come again."""
    await db.execute(
        "delete from doomed_contents where organisation_id = $1 and sha256 = $2",
        content.organisation_id,
        content.sha256,
    )
