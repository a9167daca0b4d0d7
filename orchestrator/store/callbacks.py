"""Attempts that a machine reports on piecemeal: whose they are, the facts known of each, files sent for them.

Facts are opaque here: whoever folds them says how. All times are the database's.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from drivers.wire import AttemptId, MachineId, RunId
from orchestrator.runs.callbacks import Facts
from orchestrator.runs.pushed import Order
from orchestrator.store.db import Database

if TYPE_CHECKING:
    from asyncpg import Record

ENDED: Final = 4
SAFETY_S: Final = 5.0  # looked at again by then, should whoever added the facts not come to act on them


class Reporter(Struct, frozen=True):
    """An attempt whose token was shown. holds: it is open and its run is still its own."""

    attempt_id: AttemptId
    run_id: RunId
    organisation_id: str
    machine_id: MachineId
    holds: bool


class Known(Struct, frozen=True):
    """What is known of an attempt. told: the last report made of it; quiet_s: since when nothing new was said."""

    reporter: Reporter
    facts: Facts
    told: int
    quiet_s: float


async def reporter(db: Database, claimed_id: UUID, token_hash: bytes) -> Reporter | None:
    """The attempt, named by its id or by that of the run it holds, if the token is its own."""
    row = await db.fetchrow(
        """
        select a.id, a.run_id, a.organisation_id, a.machine_id, a.token_hash,
               a.state <> 'ended' and r.attempt_id = a.id as holds
        from attempts a join runs r on r.id = a.run_id
        where a.id = coalesce((select attempt_id from runs where id = $1), $1)
        """,
        claimed_id,
    )
    if row is None or not hmac.compare_digest(row["token_hash"], token_hash):
        return None
    return _reporter(row)


def _reporter(row: Record) -> Reporter:
    return Reporter(
        AttemptId(str(row["id"])),
        RunId(str(row["run_id"])),
        str(row["organisation_id"]),
        MachineId(str(row["machine_id"])),
        bool(row["holds"]),
    )


async def fold(db: Database, reporter: Reporter, facts: Facts, merge: Callable[[Facts, Facts], Facts]) -> Known:
    """Add facts to those known, one caller at a time; says what is known with them. Ended attempts learn nothing."""
    async with db.transaction() as connection:
        await connection.execute(
            """
            insert into attempt_facts (attempt_id, run_id, organisation_id) values ($1, $2, $3)
            on conflict (attempt_id) do nothing
            """,
            reporter.attempt_id,
            reporter.run_id,
            reporter.organisation_id,
        )
        row = await connection.fetchrow(
            """
            select facts, told, extract(epoch from clock_timestamp() - heard_at)::float8 as quiet_s
            from attempt_facts where attempt_id = $1 for update
            """,
            reporter.attempt_id,
        )
        assert row is not None
        before = msgspec.convert(row["facts"], Facts)
        if row["told"] >= ENDED:
            return Known(reporter, before, row["told"], row["quiet_s"])
        after = merge(before, facts)
        if after == before:
            return Known(reporter, before, row["told"], row["quiet_s"])
        await connection.execute(
            """
            update attempt_facts set facts = $2, heard_at = clock_timestamp(),
              look_at = clock_timestamp() + make_interval(secs => $3)
            where attempt_id = $1
            """,
            reporter.attempt_id,
            after,
            SAFETY_S,
        )
        return Known(reporter, after, row["told"], 0.0)


async def note(db: Database, attempt_id: AttemptId, told: int, look_in_s: float | None) -> None:
    """A report was made of the attempt (told), and it is to be looked at again (None: no need)."""
    await db.execute(
        """
        update attempt_facts set told = greatest(told, $2),
          facts = case when $2 >= 4 then '{}' else facts end,
          look_at = case when greatest(told, $2) < 4 then clock_timestamp() + make_interval(secs => $3::float8) end
        where attempt_id = $1
        """,
        attempt_id,
        told,
        look_in_s,
    )


async def due(db: Database, again_s: float, limit: int) -> list[Known]:
    """Attempts that are to be looked at now; for others (replicas) they are due again_s seconds from now."""
    rows = await db.fetch(
        """
        with chosen as (
          select attempt_id from attempt_facts where look_at <= clock_timestamp()
          order by look_at limit $2 for update skip locked
        )
        update attempt_facts f set look_at = clock_timestamp() + make_interval(secs => $1)
        from chosen c, attempts a
        where f.attempt_id = c.attempt_id and a.id = f.attempt_id
        returning f.attempt_id as id, f.run_id, f.organisation_id, a.machine_id, a.state <> 'ended' as holds,
                  f.facts, f.told, extract(epoch from clock_timestamp() - f.heard_at)::float8 as quiet_s
        """,
        again_s,
        limit,
    )
    return [Known(_reporter(row), msgspec.convert(row["facts"], Facts), row["told"], row["quiet_s"]) for row in rows]


async def add_file(
    db: Database, reporter: Reporter, file_id: UUID, name: str, content_type: str, size: int, sha256: bytes
) -> None:
    """Note an output that is stored. Noting it again changes nothing."""
    await db.execute(
        """
        insert into files (id, organisation_id, purpose, state, name, content_type, size, sha256, attempt_id, stored_at)
        values ($1, $2, 'output', 'stored', $3, $4, $5, $6, $7, now())
        on conflict (id) do nothing
        """,
        file_id,
        reporter.organisation_id,
        name,
        content_type,
        size,
        sha256,
        reporter.attempt_id,
    )


async def of_attempt(db: Database, attempt_id: UUID) -> Reporter | None:
    """An attempt by its id: the caller has checked a signature."""
    row = await db.fetchrow(
        """
        select a.id, a.run_id, a.organisation_id, a.machine_id, a.state <> 'ended' and r.attempt_id = a.id as holds
        from attempts a join runs r on r.id = a.run_id where a.id = $1
        """,
        attempt_id,
    )
    return None if row is None else _reporter(row)


class Pushed(Struct, frozen=True):
    """A machine that is pushed to: a ComfyUI at an endpoint, without an agent of ours."""

    machine_id: MachineId
    organisation_id: str
    endpoint: str
    private: bool


async def pushed_machines(db: Database) -> list[Pushed]:
    """Every such machine that was not deleted."""
    rows = await db.fetch(
        """
        select id, organisation_id, endpoint, endpoint_private from machines
        where endpoint is not null and credential_hash is null and kind = 'classic' and deleted_at is null
        order by id
        """
    )
    return [
        Pushed(MachineId(str(row["id"])), str(row["organisation_id"]), row["endpoint"], row["endpoint_private"])
        for row in rows
    ]


async def make_ready(db: Database, machine_id: MachineId) -> None:
    """The machine answers: it takes runs from now on, unless it is draining."""
    await db.execute(
        "update machines set state = 'ready', updated_at = now() where id = $1 and state = 'pending'", machine_id
    )


async def order_of(db: Database, run_id: RunId) -> Order | None:
    """The run's graphs and inputs; None: it is gone."""
    row = await db.fetchrow(
        """
        select v.api_graph, v.ui_graph, r.inputs from runs r join workflow_versions v on v.id = r.version_id
        where r.id = $1
        """,
        run_id,
    )
    return None if row is None else Order(row["api_graph"], row["ui_graph"], row["inputs"])


async def own_attempts(db: Database, machine_id: MachineId, ids: list[str]) -> dict[AttemptId, Reporter]:
    """Those of the ids that are attempts on this machine, ended or not."""
    rows = await db.fetch(
        """
        select a.id, a.run_id, a.organisation_id, a.machine_id, a.state <> 'ended' and r.attempt_id = a.id as holds
        from attempts a join runs r on r.id = a.run_id where a.machine_id = $1 and a.id = any($2::uuid[])
        """,
        machine_id,
        ids,
    )
    return {AttemptId(str(row["id"])): _reporter(row) for row in rows}
