"""Runs in the database, apart from their changes (ledger.py): the queue's entry and its head, and what readers ask.

Every reader's query filters by organisation. It knows no rule of a run's life.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

import msgspec
from asyncpg import Record
from msgspec import Struct

from drivers.wire import MachineId, RunId
from orchestrator import wire
from orchestrator.runs.inputs import file_ids
from orchestrator.store import batches, idempotency
from orchestrator.store.db import Database
from orchestrator.store.idempotency import Once, Repeated

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection


class NewRun(Struct, frozen=True, kw_only=True):
    """A run about to be queued. once: the Idempotency-Key it came with; replayed: it stood under that key already."""

    id: RunId
    organisation_id: str
    workflow_id: str
    version_id: str
    deployment_id: str | None
    origin: str = "api"
    priority: int = 0
    lane: int = 0
    pool: dict[str, str] = {}
    pinned_machine_id: str | None = None
    inputs: dict[str, Any] = {}
    max_attempts: int = 3
    timeout_s: int = 3600
    webhook_url: str | None = None
    created_by: str | None = None
    once: Once | None = None
    replayed: bool = False
    batch_id: str | None = None
    retry_of: str | None = None
    api_key_id: str | None = None
    webhook_shape: str | None = None
    metadata: dict[str, str] = {}
    tags: list[str] | None = None


class Head(Struct, frozen=True):
    """A run at the head of the queue, with what placing and sending it needs."""

    id: RunId
    organisation_id: str
    version_id: str
    lane: int
    pool: dict[str, str]
    pinned_machine_id: MachineId | None
    inputs: dict[str, Any]
    revision: int
    attempts: int
    faults: int
    max_attempts: int
    timeout_s: int
    tried: list[MachineId]


_INSERT: Final[LiteralString] = """
with new as (
  select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::run_origin[], $7::smallint[],
                       $8::bigint[], $9::jsonb[], $10::uuid[], $11::jsonb[], $12::smallint[], $13::int[], $14::text[],
                       $15::uuid[], $16::text[], $17::text[], $18::bytea[], $19::bytea[], $21::uuid[], $22::uuid[],
                       $23::uuid[], $26::text[], $27::jsonb[])
    as n(id, organisation_id, workflow_id, version_id, deployment_id, origin, priority, lane, pool,
         pinned_machine_id, inputs, max_attempts, timeout_s, webhook_url, created_by,
         credential, route, key_hash, request_hash, batch_id, retry_of, api_key_id, webhook_shape, metadata)
), claimed as (
  insert into idempotency_keys as k
    (organisation_id, credential, route, key_hash, request_hash, run_id, expires_at)
  select distinct on (organisation_id, credential, route, key_hash)
         organisation_id, credential, route, key_hash, request_hash, id, now() + $20 * interval '1 second'
  from new where key_hash is not null order by organisation_id, credential, route, key_hash, id
  on conflict (organisation_id, credential, route, key_hash) do update
    set request_hash = excluded.request_hash, run_id = excluded.run_id, created_at = now(),
        expires_at = excluded.expires_at
    where k.expires_at <= now()
  returning run_id
), stored as (
  insert into runs (id, organisation_id, workflow_id, version_id, deployment_id, origin, priority, lane, pool,
                    pinned_machine_id, inputs, max_attempts, timeout_s, webhook_url, created_by, batch_id, retry_of,
                    api_key_id, webhook_shape, metadata)
  select id, organisation_id, workflow_id, version_id, deployment_id, origin, priority, lane, pool,
         pinned_machine_id, inputs, max_attempts, timeout_s, webhook_url, created_by, batch_id, retry_of, api_key_id,
         webhook_shape, metadata
  from new where key_hash is null or id in (select run_id from claimed) returning id, organisation_id
), history as (
  insert into run_events (run_id, revision, organisation_id, status)
  select id, 1, organisation_id, 'not-started' from stored
), needed as (
  insert into run_files (run_id, file_id)
  select f.run_id, f.file_id from unnest($24::uuid[], $25::uuid[]) as f(run_id, file_id)
  join stored s on s.id = f.run_id
), counted as (
  insert into run_count_deltas (organisation_id, status, delta)
  select organisation_id, 'not-started', count(*) from stored group by organisation_id
)
"""
_MARK: Final[LiteralString] = """, marked as (
  insert into run_marks (run_id, organisation_id, tags)
  select n.id, s.organisation_id, array(select jsonb_array_elements_text(n.tags::jsonb))
  from unnest($1::uuid[], $28::text[]) as n(id, tags) join stored s on s.id = n.id where n.tags is not null
)
"""
_LEFT_OUT: Final[LiteralString] = """
select id from new where key_hash is not null and id not in (select run_id from claimed)
"""
_LATER: Final = ("batch_id", "retry_of", "api_key_id")
_APART: Final = ("once", "replayed", "webhook_shape", "metadata", "tags", *_LATER)
_COLUMNS: Final = tuple(name for name in NewRun.__struct_fields__ if name not in _APART)


async def insert(db: Database, runs: list[NewRun]) -> list[RunId | Repeated | None]:
    """Queue runs: one statement for all. Raises asyncpg.ForeignKeyViolationError when a version is gone.

    A run whose Idempotency-Key was used before is not queued: its place holds what stands under the key, or None when
    that was forgotten at this very moment.
    """
    rows = await db.fetch(*_insertion(runs))
    return await _answers(db, runs, {str(row["id"]) for row in rows})


async def _answers(db: Database, runs: list[NewRun], left_out: set[str]) -> list[RunId | Repeated | None]:
    again = [run for run in runs if run.id in left_out]
    if not again:
        return [run.id for run in runs]
    found = await idempotency.repeated(db, [(run.organisation_id, run.once) for run in again if run.once])
    instead = {run.id: repeated for run, repeated in zip(again, found, strict=True)}
    return [instead.get(run.id, run.id) for run in runs]


class QueueFull(Exception):
    """More runs would wait than may."""


async def insert_together(
    db: Database, runs: list[NewRun], *, batch_id: str | None = None, most_waiting: int | None = None
) -> list[RunId | Repeated | None]:
    """Queue runs of one organisation, all or none, with the row of their batch if they are one; else as `insert`.

    most_waiting: raise QueueFull when more runs than that would wait. Whoever counts locks out who counts beside it.
    """
    organisation_id = runs[0].organisation_id
    async with db.transaction() as connection:
        if most_waiting is not None:
            await connection.execute("select from quotas where organisation_id = $1 for update", organisation_id)
        if batch_id is not None:
            await batches.add(connection, batch_id, organisation_id, len(runs), runs[0].created_by)
        rows = await connection.fetch(*_insertion(runs))
        came = len(runs) - len(rows)
        if most_waiting is not None and came and await _waiting(connection, organisation_id) > most_waiting:
            raise QueueFull
    return await _answers(db, runs, {str(row["id"]) for row in rows})


async def _waiting(connection: AnyConnection, organisation_id: str) -> int:
    count: int = await connection.fetchval(
        """
        select coalesce(sum(n), 0)::bigint from (
          select n from run_counts where organisation_id = $1 and status = 'not-started'
          union all
          select delta from run_count_deltas where organisation_id = $1 and status = 'not-started'
        ) c
        """,
        organisation_id,
    )
    return count


def _insertion(runs: list[NewRun]) -> tuple[Any, ...]:
    """The statement and its arguments; tags, which few runs have, cost the others nothing."""
    columns = _insert_columns(runs)
    if not any(run.tags for run in runs):
        return _INSERT + _LEFT_OUT, *columns
    tags = [msgspec.json.encode(list(dict.fromkeys(run.tags))).decode() if run.tags else None for run in runs]
    return _INSERT + _MARK + _LEFT_OUT, *columns, tags


def _insert_columns(runs: list[NewRun]) -> list[Any]:
    """The arguments of _INSERT; those that were added to it later stand at the end."""
    files = [(run.id, UUID(file_id)) for run in runs for file_id in file_ids(run.inputs)]
    return [
        *[[getattr(run, name) for run in runs] for name in _COLUMNS],
        *[[run.once and getattr(run.once, name) for run in runs] for name in Once.__struct_fields__],
        idempotency.LIFE_S,
        *[[getattr(run, name) for run in runs] for name in _LATER],
        [run_id for run_id, _ in files],
        [file_id for _, file_id in files],
        [run.webhook_shape for run in runs],
        [run.metadata for run in runs],
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


async def heads(db: Database, skip_lanes: set[int], organisations: set[str], limit: int) -> list[Head]:
    """The head of the queue, in order, without the lanes named and of the organisations named only."""
    rows = await db.fetch(
        """
        select r.id, r.organisation_id, r.version_id, r.lane, r.pool, r.pinned_machine_id, r.inputs, r.revision,
               r.attempts, r.faults, r.max_attempts, r.timeout_s,
               case when r.attempts > 0 then array(select a.machine_id from attempts a where a.run_id = r.id)
                    else '{}'::uuid[] end as tried
        from runs r
        where r.status = 'not-started' and r.not_before <= now() and r.lane <> all($1::bigint[])
              and r.organisation_id = any($2::uuid[])
        order by r.priority desc, r.id limit $3
        """,
        list(skip_lanes),
        list(organisations),
        limit,
    )
    return [
        Head(
            RunId(str(row["id"])),
            str(row["organisation_id"]),
            str(row["version_id"]),
            row["lane"],
            row["pool"],
            MachineId(str(row["pinned_machine_id"])) if row["pinned_machine_id"] else None,
            row["inputs"],
            row["revision"],
            row["attempts"],
            row["faults"],
            row["max_attempts"],
            row["timeout_s"],
            [MachineId(str(machine)) for machine in row["tried"]],
        )
        for row in rows
    ]


class VersionFacts(Struct, frozen=True):
    """What dispatching needs of an immutable version."""

    api_graph: dict[str, Any]
    ui_graph: Any
    node_classes: frozenset[str]
    models: frozenset[str]
    hashes: tuple[tuple[str, str], ...] = ()


async def version_facts(db: Database, version_ids: list[str]) -> dict[str, VersionFacts]:
    """Facts of versions by id; those that are gone are absent."""
    rows = await db.fetch(
        "select id, api_graph, ui_graph, requirements from workflow_versions where id = any($1::uuid[])", version_ids
    )
    return {
        str(row["id"]): VersionFacts(
            row["api_graph"],
            row["ui_graph"],
            frozenset(row["requirements"].get("node_classes", [])),
            frozenset(model["name"] for model in row["requirements"].get("models", [])),
            tuple(
                (model["name"], model["sha256"]) for model in row["requirements"].get("models", []) if "sha256" in model
            ),
        )
        for row in rows
    }


RUN: Final[LiteralString] = """
    select r.id, r.status, r.workflow_id, r.version_id, r.created_at, r.revision, r.attempts, r.max_attempts,
           r.priority, r.deployment_id, r.machine_id, m.name as machine_name, r.inputs, r.failure, r.queued_at,
           r.started_at, r.running_at, r.uploading_at, r.ended_at, r.origin, r.batch_id, r.retry_of, r.metadata,
           coalesce(k.favourite, false) as favourite, coalesce(k.note, '') as note, coalesce(k.tags, '{}') as tags
    from runs r left join machines m on m.id = r.machine_id left join run_marks k on k.run_id = r.id
"""
"""What `run_of` takes, without a condition. r: the run, k: its marks, if it has any."""


def run_of(row: Record) -> wire.Run:
    """A row of RUN."""
    values: dict[str, Any] = dict(row)
    for key in ("id", "workflow_id", "version_id", "deployment_id", "machine_id", "batch_id", "retry_of"):
        values[key] = _text(values[key])
    values["origin"] = sys.intern(values["origin"])  # msgspec leaves a default out when it is the very same object
    return wire.Run(**values)


async def get(db: Database, organisation_id: str, run_id: str, made_by: str | None = None) -> wire.Run | None:
    """The run, or None when the organisation has no such run, or made_by (when given) did not start it."""
    row = await db.fetchrow(
        RUN + " where r.id = $1 and r.organisation_id = $2 and ($3::uuid is null or r.created_by = $3)",
        run_id,
        organisation_id,
        made_by,
    )
    return run_of(row) if row else None


async def repeatable(db: Database, organisation_id: str, run_id: str) -> NewRun | None:
    """What a run was started with, under its own id; None: the organisation has no such run."""
    row = await db.fetchrow(
        """
        select id, organisation_id, workflow_id, version_id, deployment_id, origin, priority, lane, pool,
               pinned_machine_id, inputs, max_attempts, timeout_s, webhook_url, webhook_shape, created_by, metadata
        from runs where id = $1 and organisation_id = $2
        """,
        run_id,
        organisation_id,
    )
    if row is None:
        return None
    values: dict[str, Any] = {}
    for name, value in row.items():
        values[name] = str(value) if isinstance(value, UUID) else value
    return NewRun(**values)


async def attempts_of(db: Database, organisation_id: str, run_id: str) -> list[wire.Attempt]:
    """The run's attempts, first to last."""
    rows = await db.fetch(
        """
        select a.id, a.number, a.machine_id, m.name as machine_name, a.state, a.created_at, a.outcome, a.failure,
               a.timings, a.claimed_at, a.ended_at
        from attempts a join machines m on m.id = a.machine_id
        where a.run_id = $1 and a.organisation_id = $2 order by a.number
        """,
        run_id,
        organisation_id,
    )
    return [wire.Attempt(**{**dict(row), "id": str(row["id"]), "machine_id": str(row["machine_id"])}) for row in rows]


async def outputs_of(db: Database, organisation_id: str, run_id: str) -> list[wire.RunOutput]:
    """The run's outputs in order, without URLs (files.py signs those)."""
    rows = await db.fetch(
        """
        select o.node_id, o.kind, o.file_id, f.name, f.content_type, f.size, f.sha256, o.data
        from outputs o left join files f on f.id = o.file_id and f.organisation_id = o.organisation_id
        where o.run_id = $1 and o.organisation_id = $2 order by o.ordinal
        """,
        run_id,
        organisation_id,
    )
    return [
        wire.RunOutput(
            **{**dict(row), "file_id": _text(row["file_id"]), "sha256": row["sha256"].hex() if row["sha256"] else None}
        )
        for row in rows
    ]


async def events_after(db: Database, organisation_id: str, run_id: str, revision: int) -> list[wire.RunEvent]:
    """The run's history after a revision, in order."""
    rows = await db.fetch(
        """
        select run_id, revision, status, at, attempt, machine_id, reason from run_events
        where run_id = $1 and organisation_id = $2 and revision > $3 order by revision
        """,
        run_id,
        organisation_id,
        revision,
    )
    return [
        wire.RunEvent(
            str(row["run_id"]),
            row["revision"],
            row["status"],
            row["at"],
            row["attempt"],
            _text(row["machine_id"]),
            row["reason"],
        )
        for row in rows
    ]


async def fits(db: Database, organisation_id: str, run_id: str) -> list[wire.MachineFit]:
    """Whether each machine of the organisation could take a waiting run; 2,000 at most; none for one that does not."""
    rows = await db.fetch(
        """
        with demand as (
          select r.pool, r.version_id, r.pinned_machine_id as pinned, v.requirements -> 'node_classes' as nodes,
                 v.requirements -> 'models' as models
          from runs r join workflow_versions v on v.id = r.version_id
          where r.id = $1 and r.organisation_id = $2 and r.status = 'not-started'
        )
        select m.id, m.name, m.state, m.labels, m.quarantine_reason, d.pool,
               coalesce(m.policy -> 'version_ids' ? d.version_id::text, true) as admitted,
               d.pinned is null or d.pinned = m.id as chosen,
               coalesce(b.lease_until > now() and b.connected, false) as connected,
               (select n from jsonb_array_elements_text(d.nodes) n
                where not coalesce(m.inventory -> 'node_classes', '[]') ? n limit 1) as node,
               (select x ->> 'name' from jsonb_array_elements(d.models) x
                where not exists (select 1 from jsonb_array_elements(coalesce(m.inventory -> 'models', '[]')) h
                                  where h ->> 'name' = x ->> 'name') limit 1) as model,
               (select x ->> 'name' from jsonb_array_elements(d.models) x
                where x ? 'sha256' and not exists (
                  select 1 from jsonb_array_elements(coalesce(m.inventory -> 'models', '[]')) h
                  where h ->> 'name' = x ->> 'name' and coalesce(h ->> 'sha256', x ->> 'sha256') = x ->> 'sha256')
                limit 1) as other_model
        from demand d join machines m on m.organisation_id = $2 and m.deleted_at is null
        left join machine_beats b on b.machine_id = m.id
        order by m.id limit 2000
        """,
        run_id,
        organisation_id,
    )
    return [wire.MachineFit(str(row["id"]), row["name"], (lacks := _lacks(row)) is None, lacks) for row in rows]


async def placement_of(db: Database, organisation_id: str, run_id: str) -> dict[str, Any] | None:
    """What counted when the machine of the run's last attempt was chosen (runs.schedule.Why)."""
    found: dict[str, Any] | None = await db.fetchval(
        "select placement from attempts where run_id = $1 and organisation_id = $2 order by number desc limit 1",
        run_id,
        organisation_id,
    )
    return found


async def why_waiting(db: Database, organisation_id: str, run_id: str) -> tuple[list[tuple[str, str]], int] | None:
    """What each machine of the organisation lacks for a waiting run: (name, reason), and how many were looked at.

    Machines that lack nothing are left out; None when the run does not wait.
    """
    found = await fits(db, organisation_id, run_id)
    if found:
        return [(fit.name, fit.lacks) for fit in found if fit.lacks is not None], len(found)
    waits = await db.fetchval(
        "select true from runs where id = $1 and organisation_id = $2 and status = 'not-started'",
        run_id,
        organisation_id,
    )
    return ([], 0) if waits else None


def _lacks(row: Record) -> str | None:
    if not row["chosen"]:
        return "is not the machine the deployment is pinned to"
    if row["state"] == "pending":
        return "is not yet enrolled"
    if not row["admitted"]:
        return "is kept for other versions by its policy"
    for key, value in row["pool"].items():
        if row["labels"].get(key) != value:
            return f"lacks the label {key}={value}"
    if row["node"] is not None:
        return f"has no node {row['node']}"
    if row["model"] is not None:
        return f"has no model {row['model']}"
    if row["other_model"] is not None:
        return f"has another file as model {row['other_model']}"
    if row["state"] != "ready":
        return f"is {row['state']}" + (f" ({row['quarantine_reason']})" if row["quarantine_reason"] else "")
    return None if row["connected"] else "is not connected"
