"""Old runs, deleted with all that hangs on them. Usage stays; so do favourites."""

from __future__ import annotations

from typing import Final, LiteralString

from orchestrator.store.db import Database

# $1: days, $2: the smallest id that is not old, by its time, with a day to spare for clocks; $3: most runs.
_OLD: Final[LiteralString] = """
    select r.id from runs r
    where r.id < $2 and r.status in ('success', 'failed', 'timeout', 'cancelled')
      and r.ended_at < now() - make_interval(days => $1)
      and not exists (select from run_marks k where k.run_id = r.id and k.favourite)
    order by r.id limit $3 for update skip locked
"""


async def drop_runs(db: Database, days: int, newest_id: str, limit: int) -> int:
    """Delete runs that ended more than so many days ago, oldest first; returns how many.

    With them go what they made, and inputs that are as old and that no other run names.
    """
    async with db.transaction() as connection:
        old = [row["id"] for row in await connection.fetch(_OLD, days, newest_id, limit)]
        files = await connection.fetch(
            """
            select distinct file_id from outputs where run_id = any($1::uuid[]) and file_id is not null
            union
            select file_id from run_files where run_id = any($1::uuid[])
            """,
            old,
        )
        await connection.execute("delete from sent_graphs where run_id = any($1::uuid[])", old)
        await connection.execute(
            """
            with gone as (delete from runs where id = any($1::uuid[]) returning organisation_id, status)
            insert into run_count_deltas (organisation_id, status, delta)
            select organisation_id, status, -count(*)::int from gone group by 1, 2
            """,
            old,
        )
        await connection.execute(
            """
            delete from files f where f.id = any($1::uuid[]) and f.stored_at < now() - make_interval(days => $2)
              and not exists (select from outputs o where o.file_id = f.id)
              and not exists (select from run_files n where n.file_id = f.id)
            """,
            [row["file_id"] for row in files],
            days,
        )
    return len(old)
