"""The lines that executors wrote for runs and agents of themselves, in parts; so much of each and no more."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import msgspec

from drivers.wire import MachineId
from orchestrator.store.db import Database
from orchestrator.wire import LogPart, MachineLogPart

MOST_OWN_PARTS: Final = 300
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


async def append_own(db: Database, parts: list[tuple[str, MachineId, MachineLogPart]]) -> None:
    """Store parts of agents' own logs (organisation, machine, part); of each machine the newest MOST_OWN_PARTS stay."""
    async with db.transaction() as connection:
        await connection.execute(
            """
            insert into machine_logs (id, machine_id, organisation_id, lines, at)
            select n.id, m.id, m.organisation_id, n.lines::jsonb, n.at
            from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[])
              as n(id, machine_id, organisation_id, lines, at)
            join machines m on m.id = n.machine_id and m.organisation_id = n.organisation_id
            """,
            [part.id for _, _, part in parts],
            [machine_id for _, machine_id, _ in parts],
            [organisation_id for organisation_id, _, _ in parts],
            [_json(part.lines) for _, _, part in parts],
            [part.at for _, _, part in parts],
        )
        await connection.execute(
            """
            delete from machine_logs l using unnest($1::uuid[]) as m(id)
            where l.machine_id = m.id and l.id < (
              select x.id from machine_logs x where x.machine_id = m.id order by x.id desc offset $2 limit 1)
            """,
            list({machine_id for _, machine_id, _ in parts}),
            MOST_OWN_PARTS - 1,
        )


async def own_page(
    db: Database, organisation_id: str, machine_id: UUID, before: UUID | None, limit: int
) -> list[MachineLogPart]:
    """Parts of an agent's own log, newest first."""
    rows = await db.fetch(
        """
        select id, at, lines from machine_logs
        where organisation_id = $1 and machine_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4
        """,
        organisation_id,
        machine_id,
        before,
        limit,
    )
    return [MachineLogPart(str(row["id"]), row["at"], row["lines"]) for row in rows]


def _json(lines: list[str]) -> str:
    # as text: asyncpg takes a list among the elements of a jsonb array for a further dimension
    return msgspec.json.encode(lines).decode()
