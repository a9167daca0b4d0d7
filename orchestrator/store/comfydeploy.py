"""Runs as ComfyDeploy's clients ask for them: one with all its particulars, and what each of its nodes made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString

from msgspec import Struct

from orchestrator.store.db import Database

if TYPE_CHECKING:
    from asyncpg import Record


class RunRow(Struct, frozen=True):
    """A run's particulars."""

    id: str
    organisation_id: str
    workflow_id: str
    version_id: str
    deployment_id: str | None
    machine_id: str | None
    machine_kind: str | None
    batch_id: str | None
    created_by: str | None
    origin: str
    status: str
    inputs: dict[str, Any]
    failure: dict[str, Any] | None
    webhook_url: str | None
    webhook_shape: str | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    running_at: datetime | None
    uploading_at: datetime | None
    ended_at: datetime | None


class OutputRow(Struct, frozen=True):
    """One thing a node made. output_id: what its node calls it, if it does."""

    id: str
    node_id: str
    class_type: str | None
    output_id: str | None
    kind: str
    file_id: str | None
    name: str | None
    data: Any
    created_at: datetime


_RUN: Final[LiteralString] = """
    select r.id::text, r.organisation_id::text, r.workflow_id::text, r.version_id::text, r.deployment_id::text,
           r.machine_id::text, m.kind::text as machine_kind, r.batch_id::text, r.created_by::text,
           r.origin::text, r.status::text, r.inputs, r.failure, r.webhook_url, r.webhook_shape, r.created_at,
           r.queued_at, r.started_at, r.running_at, r.uploading_at, r.ended_at
    from runs r left join machines m on m.id = r.machine_id and m.organisation_id = r.organisation_id
"""


def _run(row: Record) -> RunRow:
    return RunRow(**dict(row))


async def run(db: Database, organisation_id: str, run_id: str, made_by: str | None = None) -> RunRow | None:
    """The run; None when the organisation has no such run, or made_by (when given) did not start it."""
    row = await db.fetchrow(
        _RUN + " where r.id = $1 and r.organisation_id = $2 and ($3::uuid is null or r.created_by = $3)",
        run_id,
        organisation_id,
        made_by,
    )
    return None if row is None else _run(row)


async def runs(
    db: Database,
    organisation_id: str,
    *,
    workflow_id: str | None = None,
    deployment_id: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int,
    offset: int,
) -> list[RunRow]:
    """Runs, newest first."""
    rows = await db.fetch(
        _RUN
        + """
        where r.organisation_id = $1 and ($2::uuid is null or r.workflow_id = $2)
          and ($3::uuid is null or r.deployment_id = $3) and ($4::run_status is null or r.status = $4)
          and ($5::timestamptz is null or r.created_at >= $5)
        order by r.id desc limit $6 offset $7
        """,
        organisation_id,
        workflow_id,
        deployment_id,
        status,
        since,
        limit,
        offset,
    )
    return [_run(row) for row in rows]


async def outputs(db: Database, organisation_id: str, run_id: str) -> list[OutputRow]:
    """What the run made, in order."""
    rows = await db.fetch(
        """
        select o.id::text, o.node_id, v.api_graph -> o.node_id ->> 'class_type' as class_type,
               case when jsonb_typeof(v.api_graph -> o.node_id -> 'inputs' -> 'output_id') = 'string'
                    then v.api_graph -> o.node_id -> 'inputs' ->> 'output_id' end as output_id,
               o.kind, o.file_id::text, f.name, o.data, o.created_at
        from outputs o join runs r on r.id = o.run_id join workflow_versions v on v.id = r.version_id
        left join files f on f.id = o.file_id and f.organisation_id = o.organisation_id
        where o.run_id = $1 and o.organisation_id = $2 order by o.ordinal
        """,
        run_id,
        organisation_id,
    )
    return [OutputRow(**dict(row)) for row in rows]


async def place_in_queue(db: Database, organisation_id: str, run_id: str) -> int | None:
    """How many runs wait before this one in its lane; None: it does not wait."""
    found = await db.fetchval(
        """
        select (select count(*) from runs o where o.status = 'not-started' and o.lane = r.lane
                and (o.priority > r.priority or (o.priority = r.priority and o.id < r.id)))
        from runs r where r.id = $1 and r.organisation_id = $2 and r.status = 'not-started'
        """,
        run_id,
        organisation_id,
    )
    return None if found is None else int(found)
