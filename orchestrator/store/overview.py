"""Reads for people: the few joined rows a dashboard page shows, always of one organisation.

It changes nothing, knows no HTML, and hands out ids as text. Every list is bounded.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import Database

LONGEST_LIST = 500


class MachineRow(Struct, frozen=True):
    """A machine as the table shows it. connected: its lease holds now. runs: those it holds."""

    id: str
    name: str
    kind: str
    state: str
    connected: bool
    slots: int
    used_slots: int
    labels: dict[str, str]
    inventory: dict[str, Any]
    agent_version: str
    endpoint: str | None
    seen_at: datetime | None
    created_at: datetime
    runs: list[str]


class Thumbnail(Struct, frozen=True):
    """An image a run made."""

    file_id: str
    name: str


class RunRow(Struct, frozen=True):
    """A run as a list shows it. images holds the first few images, outputs counts everything it made."""

    id: str
    status: str
    workflow_id: str
    workflow: str
    version: int
    machine: str | None
    attempts: int
    failure: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outputs: int
    images: list[Thumbnail]


class RunDetail(Struct, frozen=True):
    """One run, whole, without its history."""

    id: str
    status: str
    revision: int
    workflow_id: str
    workflow: str
    version: int
    machine: str | None
    environment: str | None
    origin: str
    priority: int
    attempts: int
    max_attempts: int
    timeout_s: int
    inputs: dict[str, Any]
    failure: dict[str, Any] | None
    webhook_url: str | None
    created_at: datetime
    started_at: datetime | None
    running_at: datetime | None
    ended_at: datetime | None


class EventRow(Struct, frozen=True):
    """One accepted change in a run's history."""

    revision: int
    status: str
    attempt: int
    machine: str | None
    reason: str | None
    at: datetime


class AttemptRow(Struct, frozen=True):
    """One try at a run on one machine."""

    number: int
    machine: str
    state: str
    outcome: str | None
    failure: dict[str, Any] | None
    timings: dict[str, Any] | None
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None


class OutputRow(Struct, frozen=True):
    """One thing a run made: a stored file, or a value."""

    node_id: str
    kind: str
    data: Any
    file_id: str | None
    name: str | None
    content_type: str | None
    size: int | None


class WorkflowRow(Struct, frozen=True):
    """A workflow and how many versions it has."""

    id: str
    name: str
    latest_version: int
    created_at: datetime
    updated_at: datetime


class VersionRow(Struct, frozen=True):
    """A version of a workflow, without its graph; environments lists the deployments that point to it."""

    id: str
    workflow_id: str
    version: int
    comment: str
    created_at: datetime
    environments: list[str]
    node_classes: list[str]


class DeliveryRow(Struct, frozen=True):
    """A webhook message and the last answer to it."""

    id: str
    run_id: str
    event_type: str
    status: str
    state: str
    tries: int
    created_at: datetime
    url: str
    response_code: int | None
    error: str | None


class Reader(Struct, frozen=True):
    """Who reads a page. email is None for an API key."""

    organisation: str
    email: str | None


async def counts(db: Database, organisation_id: str) -> dict[str, int]:
    """How many runs are in each status; a status nobody has been in is absent."""
    rows = await db.fetch(
        """
        select status, sum(n)::bigint as n from (
          select status, n from run_counts where organisation_id = $1
          union all select status, delta from run_count_deltas where organisation_id = $1
        ) parts group by status
        """,
        UUID(organisation_id),
    )
    return {row["status"]: max(0, row["n"]) for row in rows}


async def machines(db: Database, organisation_id: str) -> list[MachineRow]:
    """Every machine that was not deleted, by name."""
    rows = await db.fetch(
        """
        select m.id::text, m.name, m.kind::text, m.state::text, m.slots, m.labels, m.agent_version, m.endpoint,
               m.created_at, b.seen_at, coalesce(b.used_slots, 0) as used_slots,
               coalesce(b.connected and b.lease_until > now(), false) as connected,
               jsonb_build_object('gpus', m.inventory->'gpus', 'cpus', m.inventory->'cpus',
                                  'node_classes', jsonb_array_length(coalesce(m.inventory->'node_classes', '[]')),
                                  'models', jsonb_array_length(coalesce(m.inventory->'models', '[]'))) as inventory,
               array(select a.run_id::text from attempts a where a.machine_id = m.id and a.state <> 'ended'
                     order by a.id limit 16) as runs
        from machines m left join machine_beats b on b.machine_id = m.id
        where m.organisation_id = $1 and m.deleted_at is null
        order by m.name limit $2
        """,
        UUID(organisation_id),
        LONGEST_LIST,
    )
    return [MachineRow(**row) for row in rows]


async def machines_stamp(db: Database, organisation_id: str) -> str:
    """A text that changes when a row of `machines` would: state, lease, slots, beat or the runs held."""
    stamp: str | None = await db.fetchval(
        """
        select md5(string_agg(concat_ws(' ', m.id, m.name, m.state, m.slots, b.seen_at, b.used_slots,
                                        b.connected and b.lease_until > now(),
                                        (select max(a.id::text) from attempts a
                                         where a.machine_id = m.id and a.state <> 'ended')), ',' order by m.id))
        from machines m left join machine_beats b on b.machine_id = m.id
        where m.organisation_id = $1 and m.deleted_at is null
        """,
        UUID(organisation_id),
    )
    return stamp or ""


async def runs_stamp(db: Database, organisation_id: str, run_id: str | None) -> str:
    """A text that changes when the run, or without one any of the newest runs, would."""
    stamp: str | None = await db.fetchval(
        """
        select md5(string_agg(concat_ws(' ', id, revision), ',')) from (
          select id, revision from runs where organisation_id = $1 and ($2::uuid is null or id = $2)
          order by id desc limit 50
        ) newest
        """,
        UUID(organisation_id),
        UUID(run_id) if run_id else None,
    )
    return stamp or ""


async def runs(
    db: Database,
    organisation_id: str,
    *,
    statuses: list[str],
    words: str = "",
    before: UUID | None = None,
    limit: int = 25,
) -> list[RunRow]:
    """Runs, newest first: in one of statuses (none: any), of workflows whose name holds words, older than before."""
    rows = await db.fetch(
        """
        select r.id::text, r.status::text, r.workflow_id::text, coalesce(w.name, '') as workflow, v.version,
               m.name as machine, r.attempts, r.failure, r.created_at, r.started_at, r.ended_at,
               (select count(*) from outputs o where o.run_id = r.id) as outputs,
               array(select array[f.id::text, f.name] from outputs o join files f on f.id = o.file_id
                     where o.run_id = r.id and f.content_type like 'image/%' order by o.ordinal limit 3) as images
        from runs r
        join workflow_versions v on v.id = r.version_id
        left join workflows w on w.id = r.workflow_id
        left join machines m on m.id = r.machine_id
        where r.organisation_id = $1
          and (cardinality($2::text[]) = 0 or r.status::text = any ($2::text[]))
          and ($3 = '' or w.name ilike '%' || $3 || '%' or r.id::text like $3 || '%')
          and ($4::uuid is null or r.id < $4)
        order by r.id desc limit $5
        """,
        UUID(organisation_id),
        statuses,
        words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_"),
        before,
        limit,
    )
    return [_run_row(row) for row in rows]


def _run_row(row: Record) -> RunRow:
    values = dict(row)
    values["images"] = [Thumbnail(file_id, name) for file_id, name in row["images"]]
    return RunRow(**values)


async def run(db: Database, organisation_id: str, run_id: UUID) -> RunDetail | None:
    """One run; None when it is absent or another organisation's."""
    row = await db.fetchrow(
        """
        select r.id::text, r.status::text, r.revision, r.workflow_id::text, coalesce(w.name, '') as workflow,
               v.version, m.name as machine, d.environment::text, r.origin::text, r.priority, r.attempts,
               r.max_attempts, r.timeout_s, r.inputs, r.failure, r.webhook_url, r.created_at, r.started_at,
               r.running_at, r.ended_at
        from runs r
        join workflow_versions v on v.id = r.version_id
        left join workflows w on w.id = r.workflow_id
        left join machines m on m.id = r.machine_id
        left join deployments d on d.id = r.deployment_id
        where r.id = $2 and r.organisation_id = $1
        """,
        UUID(organisation_id),
        run_id,
    )
    return None if row is None else RunDetail(**row)


async def run_events(db: Database, organisation_id: str, run_id: UUID) -> list[EventRow]:
    """The history of a run, oldest first."""
    rows = await db.fetch(
        """
        select e.revision, e.status::text, e.attempt, m.name as machine, e.reason, e.at
        from run_events e left join machines m on m.id = e.machine_id
        where e.run_id = $2 and e.organisation_id = $1 order by e.revision limit $3
        """,
        UUID(organisation_id),
        run_id,
        LONGEST_LIST,
    )
    return [EventRow(**row) for row in rows]


async def attempts(db: Database, organisation_id: str, run_id: UUID) -> list[AttemptRow]:
    """The attempts at a run, the first first."""
    rows = await db.fetch(
        """
        select a.number, m.name as machine, a.state::text, a.outcome, a.failure, a.timings, a.created_at,
               a.claimed_at, a.ended_at
        from attempts a join machines m on m.id = a.machine_id
        where a.run_id = $2 and a.organisation_id = $1 order by a.number limit $3
        """,
        UUID(organisation_id),
        run_id,
        LONGEST_LIST,
    )
    return [AttemptRow(**row) for row in rows]


async def outputs(db: Database, organisation_id: str, run_id: UUID) -> list[OutputRow]:
    """What a run made, in order."""
    rows = await db.fetch(
        """
        select o.node_id, o.kind, o.data, f.id::text as file_id, f.name, f.content_type, f.size
        from outputs o left join files f on f.id = o.file_id
        where o.run_id = $2 and o.organisation_id = $1 order by o.ordinal limit $3
        """,
        UUID(organisation_id),
        run_id,
        LONGEST_LIST,
    )
    return [OutputRow(**row) for row in rows]


async def file_name(db: Database, organisation_id: str, file_id: UUID) -> str | None:
    """The name of a stored file of the organisation; None when there is none."""
    name: str | None = await db.fetchval(
        "select name from files where id = $2 and organisation_id = $1 and state = 'stored'",
        UUID(organisation_id),
        file_id,
    )
    return name


async def workflows(db: Database, organisation_id: str) -> list[WorkflowRow]:
    """Workflows that were not deleted, newest first."""
    rows = await db.fetch(
        """
        select id::text, name, latest_version, created_at, updated_at from workflows
        where organisation_id = $1 and deleted_at is null order by id desc limit $2
        """,
        UUID(organisation_id),
        LONGEST_LIST,
    )
    return [WorkflowRow(**row) for row in rows]


async def versions(db: Database, organisation_id: str, workflow_ids: list[str], newest: int) -> list[VersionRow]:
    """The newest versions of each workflow, the last first."""
    rows = await db.fetch(
        """
        select v.id::text, v.workflow_id::text, v.version, v.comment, v.created_at,
               array(select d.environment::text from deployments d
                     where d.version_id = v.id and d.deleted_at is null order by d.environment) as environments,
               coalesce(v.requirements->'node_classes', '[]'::jsonb) as node_classes
        from unnest($2::uuid[]) wanted (id)
        cross join lateral (
          select * from workflow_versions where workflow_id = wanted.id and organisation_id = $1
          order by version desc limit $3
        ) v
        order by v.workflow_id, v.version desc
        """,
        UUID(organisation_id),
        [UUID(each) for each in workflow_ids],
        newest,
    )
    return [VersionRow(**row) for row in rows]


async def deliveries(db: Database, organisation_id: str, limit: int) -> list[DeliveryRow]:
    """The newest webhook messages with the last answer to each."""
    rows = await db.fetch(
        """
        select o.id::text, o.run_id::text, o.event_type, o.status::text, o.state::text, o.tries, o.created_at,
               coalesce(d.url, e.url, r.webhook_url, '') as url, d.response_code, d.error
        from webhook_outbox o
        join runs r on r.id = o.run_id
        left join webhook_endpoints e on e.id = o.endpoint_id
        left join lateral (
          select url, response_code, error from webhook_deliveries where outbox_id = o.id order by id desc limit 1
        ) d on true
        where o.organisation_id = $1 order by o.id desc limit $2
        """,
        UUID(organisation_id),
        limit,
    )
    return [DeliveryRow(**row) for row in rows]


async def reader(db: Database, organisation_id: str, user_id: str | None) -> Reader:
    """Whom a page greets: the organisation's name, and the user's e-mail unless an API key reads."""
    row = await db.fetchrow(
        "select name, (select email from users where id = $2) as email from organisations where id = $1",
        UUID(organisation_id),
        UUID(user_id) if user_id else None,
    )
    return Reader("", None) if row is None else Reader(row["name"], row["email"])
