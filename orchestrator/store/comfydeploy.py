"""What ComfyDeploy's clients ask for in ways of their own: a run's particulars, nodes' outputs, lists by offset."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

import msgspec
from msgspec import Struct

from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.wire import InputSpec, Workflow

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
    bound_to: Collection[str] | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int,
    offset: int,
) -> list[RunRow]:
    """Runs, newest first. bound_to: of these deployments only."""
    rows = await db.fetch(
        _RUN
        + """
        where r.organisation_id = $1 and ($2::uuid is null or r.workflow_id = $2)
          and ($3::uuid is null or r.deployment_id = $3) and ($4::run_status is null or r.status = $4)
          and ($5::timestamptz is null or r.created_at >= $5) and ($6::uuid[] is null or r.deployment_id = any($6))
        order by r.id desc limit $7 offset $8
        """,
        organisation_id,
        workflow_id,
        deployment_id,
        status,
        since,
        None if bound_to is None else list(bound_to),
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


async def workflows(db: Database, organisation_id: str, search: str, limit: int, offset: int) -> list[Workflow]:
    """Workflows whose name contains the text, the last changed first."""
    rows = await db.fetch(
        """
        select id::text, name, latest_version, created_at, updated_at from workflows
        where organisation_id = $1 and deleted_at is null and not hidden
          and ($2 = '' or position(lower($2) in lower(name)) > 0)
        order by updated_at desc, id desc limit $3 offset $4
        """,
        organisation_id,
        search,
        limit,
        offset,
    )
    return [Workflow(**dict(row)) for row in rows]


async def place_of_version(db: Database, organisation_id: str, version_id: UUID) -> tuple[UUID, int] | None:
    """The version's workflow and its number in it; None: the organisation has no such version."""
    row = await db.fetchrow(
        "select workflow_id, version from workflow_versions where id = $1 and organisation_id = $2",
        version_id,
        organisation_id,
    )
    return None if row is None else (row["workflow_id"], row["version"])


async def inputs_of_version(db: Database, organisation_id: str, version_id: UUID) -> list[InputSpec]:
    """What a run of the version takes."""
    found = await db.fetchval(
        "select requirements -> 'inputs' from workflow_versions where id = $1 and organisation_id = $2",
        version_id,
        organisation_id,
    )
    return msgspec.convert(found or [], list[InputSpec])


async def move_machine(
    db: Database, organisation_id: str, machine_id: UUID, endpoint: str, actor: str, *, private: bool | None
) -> bool:
    """Point a machine that is pushed to at another endpoint. False: the organisation has no such machine."""
    async with db.transaction() as connection:
        found = await connection.execute(
            """
            update machines set endpoint = $3, endpoint_private = coalesce($4, endpoint_private), updated_at = now()
            where organisation_id = $1 and id = $2 and deleted_at is null and credential_hash is null
            """,
            organisation_id,
            machine_id,
            endpoint,
            private,
        )
        if found == "UPDATE 0":
            return False
        await audit.record(
            connection, organisation_id, actor, "machine.move", f"machine:{machine_id}", endpoint=endpoint
        )
    return True


async def add_input(
    db: Database, organisation_id: str, file_id: UUID, name: str, content_type: str, size: int, sha256: bytes
) -> None:
    """Note an input that is stored. Noting it again changes nothing."""
    await db.execute(
        """
        insert into files (id, organisation_id, purpose, state, name, content_type, size, sha256, stored_at)
        select $1, o.id, 'input', 'stored', $3, $4, $5, $6, now() from organisations o where o.id = $2
        on conflict (id) do nothing
        """,
        file_id,
        organisation_id,
        name,
        content_type,
        size,
        sha256,
    )


async def count_runs(
    db: Database,
    organisation_id: str,
    *,
    workflow_id: str | None,
    deployment_id: str | None,
    machine_id: str | None,
    status: str | None,
    bound_to: Collection[str] | None,
    since: datetime,
    until: datetime,
) -> int:
    """How many runs of the organisation there were between two moments. bound_to: as for `runs`."""
    found = await db.fetchval(
        """
        select count(*) from runs
        where organisation_id = $1 and created_at >= $2 and created_at < $3
          and ($4::uuid is null or workflow_id = $4) and ($5::uuid is null or deployment_id = $5)
          and ($6::uuid is null or machine_id = $6) and ($7::run_status is null or status = $7)
          and ($8::uuid[] is null or deployment_id = any($8))
        """,
        organisation_id,
        since,
        until,
        workflow_id,
        deployment_id,
        machine_id,
        status,
        None if bound_to is None else list(bound_to),
    )
    return int(found)
