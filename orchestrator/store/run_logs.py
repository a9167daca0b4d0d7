"""The lines that executors wrote for runs, in parts; each attempt so much and no more."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from orchestrator.store.db import Database
from orchestrator.wire import LogPart

MOST_BYTES: Final = 512 * 1024
"""Kept of one attempt; what comes after it is dropped."""


async def append(db: Database, organisations: list[str], parts: list[LogPart]) -> None:
    """Store parts of any attempts in one statement; those of an attempt that is full, or of a run that is gone, not."""
    await db.execute(
        """
        with new as (
          select *, sum(bytes) over (partition by attempt_id order by id) as upto
          from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int[], $7::timestamptz[])
            as n(id, run_id, organisation_id, attempt_id, lines, bytes, at)
        ), kept as (
          select l.attempt_id, sum(l.bytes) as bytes from run_logs l
          where l.run_id in (select run_id from new) group by l.attempt_id
        )
        insert into run_logs (id, run_id, organisation_id, attempt_id, lines, bytes, at)
        select n.id, n.run_id, n.organisation_id, n.attempt_id, n.lines::jsonb, n.bytes, n.at
        from new n join runs r on r.id = n.run_id and r.organisation_id = n.organisation_id
        left join kept k on k.attempt_id = n.attempt_id
        where coalesce(k.bytes, 0) + n.upto <= $8
        """,
        [part.id for part in parts],
        [part.run_id for part in parts],
        organisations,
        [part.attempt_id for part in parts],
        [_json(part.lines) for part in parts],
        [sum(len(line.encode()) for line in part.lines) for part in parts],
        [part.at for part in parts],
        MOST_BYTES,
    )


async def page(
    db: Database, organisation_id: str, run_id: UUID, *, attempt: int | None, after: UUID | None, limit: int
) -> list[LogPart]:
    """A run's parts, oldest first, after the part `after`; attempt: of that number only."""
    rows = await db.fetch(
        """
        select l.id, l.run_id, l.attempt_id, l.at, l.lines from run_logs l
        where l.run_id = $1 and l.organisation_id = $2 and ($3::uuid is null or l.id > $3)
          and ($4::int is null or l.attempt_id = (select a.id from attempts a where a.run_id = $1 and a.number = $4))
        order by l.id limit $5
        """,
        run_id,
        organisation_id,
        after,
        attempt,
        limit,
    )
    return [
        LogPart(str(row["id"]), str(row["run_id"]), str(row["attempt_id"]), row["at"], row["lines"]) for row in rows
    ]


def _json(lines: list[str]) -> str:
    # as text: asyncpg takes a list among the elements of a jsonb array for a further dimension
    return msgspec.json.encode(lines).decode()
