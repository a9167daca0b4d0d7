"""Batches: runs started together, and how they stand. A batch is as small as its bound, so its runs may be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from asyncpg import Record

from drivers.wire import RunId
from orchestrator.store.db import Database
from orchestrator.wire import Batch

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection


async def add(
    connection: AnyConnection, batch_id: str, organisation_id: str, total: int, created_by: str | None
) -> None:
    """Note a batch, in the transaction that stores its runs."""
    await connection.execute(
        "insert into batches (id, organisation_id, total, created_by) values ($1, $2, $3, $4)",
        batch_id,
        organisation_id,
        total,
        created_by,
    )


async def page(
    db: Database,
    organisation_id: str,
    *,
    before: UUID | None = None,
    limit: int = 1,
    only: UUID | None = None,
    made_by: str | None = None,
    deployment_ids: list[str] | None = None,
) -> list[Batch]:
    """Batches, newest first, with their counts. only: that one; made_by: of this user; deployment_ids: of these."""
    rows = await db.fetch(
        """
        select b.id, b.total, b.created_at, c.counts, coalesce(c.ended, 0) as ended,
               (select r.deployment_id from runs r where r.batch_id = b.id limit 1) as deployment_id
        from batches b
        left join lateral (
          select jsonb_object_agg(s.status, s.n) as counts,
                 sum(s.n) filter (where s.status in ('success', 'failed', 'timeout', 'cancelled')) as ended
          from (select r.status, count(*) as n from runs r where r.batch_id = b.id group by r.status) s
        ) c on true
        where b.organisation_id = $1 and ($2::uuid is null or b.id < $2) and ($4::uuid is null or b.id = $4)
              and ($5::uuid is null or b.created_by = $5)
              and ($6::uuid[] is null
                   or exists (select from runs r where r.batch_id = b.id and r.deployment_id = any($6::uuid[])))
        order by b.id desc limit $3
        """,
        organisation_id,
        before,
        limit,
        only,
        made_by,
        deployment_ids,
    )
    return [_batch(row) for row in rows]


async def unended(db: Database, organisation_id: str, batch_id: UUID) -> list[RunId]:
    """The batch's runs that have not ended."""
    rows: list[Any] = await db.fetch(
        """
        select id from runs where batch_id = $1 and organisation_id = $2
          and status in ('not-started', 'queued', 'started', 'running', 'uploading')
        """,
        batch_id,
        organisation_id,
    )
    return [RunId(str(row["id"])) for row in rows]


def _batch(row: Record) -> Batch:
    deployment_id = None if row["deployment_id"] is None else str(row["deployment_id"])
    return Batch(str(row["id"]), row["total"], row["created_at"], int(row["ended"]), row["counts"] or {}, deployment_id)
