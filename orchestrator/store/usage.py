"""What organisations use and may use: run time by day, storage, quotas. Sums are kept, never counted over all rows."""

from __future__ import annotations

from datetime import date
from typing import Final, Literal, LiteralString
from uuid import UUID

from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.wire import Quotas, QuotasUpdate, Storage, StorageDay, Usage

NONE: Final = UUID(int=0)

By = Literal["day", "deployment", "key"]
"""What sums are made of, besides the values of metadata."""

_COLUMN: Final[dict[By, LiteralString]] = {
    "day": "u.day::text",
    "deployment": "u.deployment_id::text",
    "key": "u.api_key_id::text",
}


async def usage(
    db: Database,
    organisation_id: str,
    first: date,
    last: date,
    by: By,
    *,
    deployment_id: UUID | None = None,
    api_key_id: UUID | None = None,
) -> list[Usage]:
    """Sums of the days from first to last, both included, by day, deployment or key; nothing for what had no use."""
    rows = await db.fetch(
        f"""
        select {_COLUMN[by]} as name, sum(u.runs)::bigint as runs, sum(u.succeeded)::bigint as succeeded,
               sum(u.attempts)::bigint as attempts, sum(u.machine_ms)::bigint as machine_ms
        from (
          select day, deployment_id, api_key_id, runs, succeeded, attempts, machine_ms from usage_days
          where organisation_id = $1 and day between $2 and $3
          union all
          select day, deployment_id, api_key_id, runs, succeeded, attempts, machine_ms from usage_deltas
          where organisation_id = $1 and day between $2 and $3
        ) u
        where ($4::uuid is null or u.deployment_id = $4) and ($5::uuid is null or u.api_key_id = $5)
        group by 1 order by 1
        """,  # noqa: S608  one of three constants
        organisation_id,
        first,
        last,
        deployment_id,
        api_key_id,
    )
    return [
        Usage(
            None if row["name"] == str(NONE) else row["name"],
            row["runs"],
            row["succeeded"],
            row["attempts"],
            row["machine_ms"] / 1000,
        )
        for row in rows
    ]


async def by_metadata(db: Database, organisation_id: str, first: date, last: date, name: str) -> list[Usage]:
    """The same by what runs have under a name of their metadata, for a name that is counted; nothing for other runs."""
    rows = await db.fetch(
        """
        select value as name, sum(runs)::bigint as runs, sum(succeeded)::bigint as succeeded,
               sum(attempts)::bigint as attempts, sum(machine_ms)::float8 / 1000 as machine_s
        from (
          select value, runs, succeeded, attempts, machine_ms from usage_metadata_days
          where organisation_id = $1 and name = $4 and day between $2 and $3
          union all
          select metadata ->> $4, 1, succeeded, attempts, machine_ms from usage_metadata_deltas
          where organisation_id = $1 and metadata ? $4 and day between $2 and $3
        ) u group by 1 order by 1
        """,
        organisation_id,
        first,
        last,
        name,
    )
    return [Usage(**dict(row)) for row in rows]


async def storage(db: Database, organisation_id: str) -> Storage:
    """What is stored now."""
    row = await db.fetchrow(
        """
        select coalesce(d.bytes, 0) + coalesce(n.bytes, 0) as bytes,
               coalesce(d.files, 0) + coalesce(n.files, 0) as files
        from (select sum(bytes)::bigint as bytes, sum(files)::bigint as files
              from storage_deltas where organisation_id = $1) n
        left join lateral (select bytes, files from storage_days where organisation_id = $1 order by day desc limit 1) d
          on true
        """,
        organisation_id,
    )
    assert row is not None
    return Storage(row["bytes"], row["files"])


async def storage_days(db: Database, organisation_id: str, first: date, last: date) -> list[StorageDay]:
    """What was stored at the end of each day from first to last, and is now when that is today; no day to come."""
    rows = await db.fetch(
        """
        with today as (select (now() at time zone 'utc')::date as day)
        select d.day::date::text as day, d.day = t.day as is_today, coalesce(s.bytes, 0) as bytes,
               coalesce(s.files, 0) as files
        from today t cross join generate_series($2::date, least($3::date, t.day), interval '1 day') d(day)
        left join lateral (
          select bytes, files from storage_days x where x.organisation_id = $1 and x.day <= d.day
          order by x.day desc limit 1
        ) s on true
        order by d.day
        """,
        organisation_id,
        first,
        last,
    )
    days = [StorageDay(row["day"], row["bytes"], row["files"]) for row in rows]
    if rows and rows[-1]["is_today"]:
        now = await storage(db, organisation_id)
        days[-1] = StorageDay(days[-1].day, now.bytes, now.files)
    return days


async def running(db: Database, organisation_ids: list[str]) -> dict[str, int]:
    """How many runs of each organisation are on machines."""
    rows = await db.fetch(
        """
        select organisation_id, sum(n)::bigint as n from (
          select organisation_id, status, n from run_counts where organisation_id = any($1::uuid[])
          union all
          select organisation_id, status, delta from run_count_deltas where organisation_id = any($1::uuid[])
        ) c where status in ('queued', 'started', 'running', 'uploading') group by 1
        """,
        organisation_ids,
    )
    return {str(row["organisation_id"]): row["n"] for row in rows}


async def quotas(db: Database, organisation_id: str) -> Quotas:
    """The organisation's quotas; None: no bound."""
    return (await quotas_of(db, [organisation_id]))[organisation_id]


async def quotas_of(db: Database, organisation_ids: list[str]) -> dict[str, Quotas]:
    """The quotas of each of the organisations."""
    rows = await db.fetch(
        """
        select organisation_id, max_queued_runs, max_running_runs, max_storage_bytes
        from quotas where organisation_id = any($1::uuid[])
        """,
        organisation_ids,
    )
    found = {
        str(row["organisation_id"]): Quotas(row["max_queued_runs"], row["max_running_runs"], row["max_storage_bytes"])
        for row in rows
    }
    return {one: found.get(one, Quotas()) for one in organisation_ids}


async def set_quotas(db: Database, organisation_id: str, change: QuotasUpdate, actor: str) -> None:
    """Set all of them; a None lifts the bound."""
    async with db.transaction() as connection:
        await connection.execute(
            """
            insert into quotas (organisation_id, max_queued_runs, max_running_runs, max_storage_bytes)
            values ($1, $2, $3, $4)
            on conflict (organisation_id) do update set max_queued_runs = excluded.max_queued_runs,
              max_running_runs = excluded.max_running_runs, max_storage_bytes = excluded.max_storage_bytes,
              updated_at = now()
            """,
            organisation_id,
            change.max_queued_runs,
            change.max_running_runs,
            change.max_storage_bytes,
        )
        subject = f"organisation:{organisation_id}"
        await audit.record(
            connection,
            organisation_id,
            actor,
            "quotas.change",
            subject,
            max_queued_runs=change.max_queued_runs,
            max_running_runs=change.max_running_runs,
            max_storage_bytes=change.max_storage_bytes,
        )


async def roll_up_usage(db: Database, limit: int) -> int:
    """Fold additions into usage_days; returns how many rows were folded. Those of a team that is gone are dropped."""
    folded: int = await db.fetchval(
        """
        with gone as (
          delete from usage_deltas where id in (select id from usage_deltas order by id limit $1) returning *
        ), added as (
          insert into usage_days as d
            (organisation_id, day, deployment_id, api_key_id, runs, succeeded, attempts, machine_ms)
          select g.organisation_id, g.day, g.deployment_id, g.api_key_id, sum(g.runs), sum(g.succeeded),
                 sum(g.attempts), sum(g.machine_ms)
          from gone g join organisations o on o.id = g.organisation_id group by 1, 2, 3, 4
          on conflict (organisation_id, day, deployment_id, api_key_id) do update set
            runs = d.runs + excluded.runs, succeeded = d.succeeded + excluded.succeeded,
            attempts = d.attempts + excluded.attempts, machine_ms = d.machine_ms + excluded.machine_ms
        )
        select count(*) from gone
        """,
        limit,
    )
    return folded


async def roll_up_metadata(db: Database, names: list[str], limit: int) -> int:
    """Fold runs that ended into usage_metadata_days, by these names of their metadata; how many were folded."""
    folded: int = await db.fetchval(
        """
        with gone as (
          delete from usage_metadata_deltas
          where id in (select id from usage_metadata_deltas order by id limit $1) returning *
        ), added as (
          insert into usage_metadata_days as d
            (organisation_id, day, name, value, runs, succeeded, attempts, machine_ms)
          select g.organisation_id, g.day, m.key, m.value, count(*), sum(g.succeeded), sum(g.attempts),
                 sum(g.machine_ms)
          from gone g join organisations o on o.id = g.organisation_id
          cross join jsonb_each_text(g.metadata) m where m.key = any($2::text[]) group by 1, 2, 3, 4
          on conflict (organisation_id, name, day, value) do update set
            runs = d.runs + excluded.runs, succeeded = d.succeeded + excluded.succeeded,
            attempts = d.attempts + excluded.attempts, machine_ms = d.machine_ms + excluded.machine_ms
        )
        select count(*) from gone
        """,
        limit,
        names,
    )
    return folded


async def roll_up_storage(db: Database, limit: int) -> int:
    """Fold changes into today's row of storage_days; returns how many rows were folded. Only the leader does this."""
    folded: int = await db.fetchval(
        """
        with gone as (
          delete from storage_deltas where id in (select id from storage_deltas order by id limit $1) returning *
        ), sums as (
          select g.organisation_id, sum(g.bytes)::bigint as bytes, sum(g.files)::bigint as files
          from gone g join organisations o on o.id = g.organisation_id group by 1
        ), added as (
          insert into storage_days as d (organisation_id, day, bytes, files)
          select s.organisation_id, (now() at time zone 'utc')::date, coalesce(l.bytes, 0) + s.bytes,
                 coalesce(l.files, 0) + s.files
          from sums s left join lateral (
            select bytes, files from storage_days x where x.organisation_id = s.organisation_id
            order by day desc limit 1
          ) l on true
          on conflict (organisation_id, day) do update set bytes = excluded.bytes, files = excluded.files
        )
        select count(*) from gone
        """,
        limit,
    )
    return folded
