"""Machines' leases and open attempts in the database: heartbeats in batches, what is overdue, who watches.

All times are the database's. It knows no socket and no rule of a run's life.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from asyncpg import Record
from msgspec import Struct

from drivers.wire import AttemptId, MachineId, RunId
from orchestrator.store.db import Database


class OpenAttempt(Struct, frozen=True):
    """An attempt that has not ended."""

    attempt_id: AttemptId
    run_id: RunId
    machine_id: MachineId


class Overdue(Struct, frozen=True):
    """An open attempt that should not be open any more, and why: not_claimed, machine_lost or timed_out."""

    attempt_id: AttemptId
    run_id: RunId
    why: str


class LiveMachine(Struct, frozen=True):
    """What may change about a machine while it is connected."""

    id: MachineId
    name: str
    state: str
    labels: dict[str, str]
    policy: dict[str, Any] = {}
    secrets_revision: int = 0

    @property
    def takes_runs(self) -> bool:
        """Whether it may be given any."""
        return self.state == "ready"


async def beat(db: Database, used: dict[MachineId, int], lease_s: float, *, connected: bool = True) -> None:
    """Renew the leases of machines, in one statement; used counts their busy slots."""
    await db.execute(
        """
        insert into machine_beats as b (machine_id, seen_at, lease_until, used_slots, connected)
        select u.id, now(), now() + $3, u.used, $4 from unnest($1::uuid[], $2::int[]) as u(id, used)
        join machines m on m.id = u.id order by u.id
        on conflict (machine_id) do update set
          seen_at = excluded.seen_at, lease_until = greatest(b.lease_until, excluded.lease_until),
          used_slots = excluded.used_slots, connected = excluded.connected
        """,
        list(used),
        list(used.values()),
        timedelta(seconds=lease_s),
        connected,
    )


async def live(db: Database, machine_ids: list[MachineId]) -> dict[MachineId, LiveMachine]:
    """Name, state and labels of machines that are not deleted."""
    rows = await db.fetch(
        """
        select id::text, name, state, labels, policy, secrets_revision from machines
        where id = any($1::uuid[]) and deleted_at is null
        """,
        machine_ids,
    )
    return {MachineId(row["id"]): LiveMachine(**dict(row)) for row in rows}


def _open(row: Record) -> OpenAttempt:
    return OpenAttempt(AttemptId(str(row["id"])), RunId(str(row["run_id"])), MachineId(str(row["machine_id"])))


async def open_attempts(db: Database, machine_id: MachineId) -> list[OpenAttempt]:
    """Attempts that the machine should be working on."""
    rows = await db.fetch(
        "select id, run_id, machine_id from attempts where machine_id = $1 and state <> 'ended'", machine_id
    )
    return [_open(row) for row in rows]


async def still_open(db: Database, machine_id: MachineId, attempt_ids: list[AttemptId]) -> dict[AttemptId, RunId]:
    """Those of the attempts that are open on this machine, with their runs."""
    rows = await db.fetch(
        "select id, run_id from attempts where id = any($1::uuid[]) and machine_id = $2 and state <> 'ended'",
        attempt_ids,
        machine_id,
    )
    return {AttemptId(str(row["id"])): RunId(str(row["run_id"])) for row in rows}


async def speeds(db: Database, machine_id: MachineId) -> dict[str, float]:
    """Moving averages of execute times in ms, by version."""
    rows = await db.fetch(
        "select version_id, execute_ms from machine_speeds where machine_id = $1 order by updated_at desc limit 500",
        machine_id,
    )
    return {str(row["version_id"]): row["execute_ms"] for row in rows}


async def save_speeds(db: Database, rows: list[tuple[MachineId, str, float]]) -> None:
    """Store moving averages (machine, version, ms)."""
    await db.execute(
        """
        insert into machine_speeds as s (machine_id, version_id, execute_ms, samples)
        select u.machine_id, u.version_id, u.ms, 1 from unnest($1::uuid[], $2::uuid[], $3::real[])
          as u(machine_id, version_id, ms)
        join machines m on m.id = u.machine_id order by u.machine_id, u.version_id
        on conflict (machine_id, version_id) do update set
          execute_ms = excluded.execute_ms, samples = s.samples + 1, updated_at = now()
        """,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
    )


async def tick_clock(db: Database, longest_gap_s: float) -> float:
    """Note that a leader watches now. Returns the seconds by which every lease and claim was extended.

    A lease must not run out while no orchestrator was there to renew it: after a gap longer than longest_gap_s,
    everything open is extended by the gap, in the statement that closes it.
    """
    gap = await db.fetchval(
        """
        with was as (select ticked_at from watch_clock for update),
        gap as (select coalesce(extract(epoch from now() - (select ticked_at from was)), 0)::float8 as s),
        ticked as (
          insert into watch_clock (one, ticked_at) values (true, now())
          on conflict (one) do update set ticked_at = excluded.ticked_at
        ), leases as (
          update machine_beats set lease_until = lease_until + make_interval(secs => g.s) from gap g where g.s > $1
        ), claims as (
          update attempts set claim_until = claim_until + make_interval(secs => g.s),
                              deadline = deadline + make_interval(secs => g.s)
          from gap g where g.s > $1 and state <> 'ended'
        )
        select case when s > $1 then s else 0 end from gap
        """,
        longest_gap_s,
    )
    return float(gap)


async def overdue(db: Database, grace_s: float, upload_s: float, limit: int) -> list[Overdue]:
    """Open attempts past their claim, their deadline, or their machine's lease.

    The agent acts on a deadline first, so grace_s is added; while it uploads, upload_s, since the deadline is that of
    executing.
    """
    rows = await db.fetch(
        """
        with seen as (
          select a.id, a.run_id, a.state,
                 a.deadline < now() - make_interval(
                   secs => case when r.status = 'uploading' then $3::float8 else $2::float8 end) as late,
                 coalesce(b.lease_until < now(), true) as lost, a.claim_until < now() as unclaimed
          from attempts a join runs r on r.id = a.run_id left join machine_beats b on b.machine_id = a.machine_id
          where a.state <> 'ended'
        )
        select id, run_id, case when state = 'claimed' and late then 'timed_out'
                                when lost then 'machine_lost' else 'not_claimed' end as why
        from seen a
        where (state = 'claimed' and late) or lost or (state = 'placed' and unclaimed)
        order by a.id limit $1
        """,
        limit,
        grace_s,
        upload_s,
    )
    return [Overdue(AttemptId(str(row["id"])), RunId(str(row["run_id"])), row["why"]) for row in rows]


async def waited_too_long(db: Database, longest_s: int, limit: int) -> list[RunId]:
    """Runs that have been waiting for more than longest_s seconds since they were made."""
    rows = await db.fetch(
        """
        select id from runs where status = 'not-started' and created_at < now() - make_interval(secs => $1)
        order by id limit $2
        """,
        float(longest_s),
        limit,
    )
    return [RunId(str(row["id"])) for row in rows]


async def roll_up_counts(db: Database, limit: int) -> int:
    """Fold counter changes into run_counts; returns how many rows were folded."""
    return int(
        await db.fetchval(
            """
            with taken as (
              delete from run_count_deltas where id in (select id from run_count_deltas order by id limit $1)
              returning organisation_id, status, delta
            ), summed as (
              insert into run_counts as c (organisation_id, status, n)
              select organisation_id, status, sum(delta) from taken group by organisation_id, status
              on conflict (organisation_id, status) do update set n = c.n + excluded.n
            )
            select count(*) from taken
            """,
            limit,
        )
    )
