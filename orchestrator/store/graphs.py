"""Graphs that clients send whole: the version that stands for each shape, and what was said of each graph."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from asyncpg import Record
from msgspec import Struct

from orchestrator.runs.state import Status
from orchestrator.store import workflows
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.store.workflows import Author, NewVersion

HIDDEN_NAME: Final = "Graphs sent whole"
Dialect = Literal["comfy_v2", "comfyui", "comfydeploy"]


async def version_of(db: Database, organisation_id: str, shape_hash: bytes) -> str | None:
    """The version that stands for a shape, or None when the organisation never sent such a graph."""
    found = await db.fetchval(
        """
        select g.version_id from graph_shapes g
        join workflow_versions v on v.id = g.version_id and v.deleted_at is null
        join workflows w on w.id = v.workflow_id and w.deleted_at is null
        where g.organisation_id = $1 and g.hash = $2
        """,
        organisation_id,
        shape_hash,
    )
    return None if found is None else str(found)


async def add_version(db: Database, author: Author, shape_hash: bytes, new: NewVersion) -> str:
    """Make the version of a shape. Of two that make it at once both get one; the later is used from then on."""
    workflow_id: UUID = await db.fetchval(
        """
        insert into workflows (id, organisation_id, name, hidden) values ($1, $2, $3, true)
        on conflict (organisation_id) where hidden do update set deleted_at = null returning id
        """,
        uuid7(),
        author.organisation_id,
        HIDDEN_NAME,
    )
    version = await workflows.add_version(db, author, workflow_id, new)
    assert version is not None
    await db.execute(
        """
        insert into graph_shapes (organisation_id, hash, version_id) values ($1, $2, $3)
        on conflict (organisation_id, hash) do update set version_id = excluded.version_id
        """,
        author.organisation_id,
        shape_hash,
        version.id,
    )
    return version.id


class Sent(Struct, frozen=True, kw_only=True):
    """What a client said of a graph that it sent, besides the graph."""

    run_id: str
    organisation_id: str
    dialect: Dialect
    sender: str
    client_id: str = ""
    labels: dict[str, str] = {}
    extra: dict[str, Any] = {}
    sealed: bytes | None = None


async def note(db: Database, sent: Sent) -> int:
    """Keep it; returns its number."""
    number: int = await db.fetchval(
        """
        insert into sent_graphs (run_id, organisation_id, dialect, sender, client_id, labels, extra, sealed)
        values ($1, $2, $3, $4, $5, $6, $7, $8) returning number
        """,
        sent.run_id,
        sent.organisation_id,
        sent.dialect,
        sent.sender,
        sent.client_id,
        sent.labels,
        sent.extra,
        sent.sealed,
    )
    return number


async def forget(db: Database, organisation_id: str, run_id: str) -> None:
    """Its run was refused."""
    await db.execute("delete from sent_graphs where organisation_id = $1 and run_id = $2", organisation_id, run_id)


class Along(Struct, frozen=True):
    """What goes to a machine along with a run's graph: the editor's graph, and keys of other services, encrypted.

    dialect: through which door the graph came; None: it was not sent whole.
    """

    ui_graph: Any = None
    sealed: bytes | None = None
    dialect: str | None = None


async def along(db: Database, organisation_id: str, run_id: str) -> Along:
    """What went along with a run's graph."""
    row = await db.fetchrow(
        """
        select extra -> 'extra_pnginfo' -> 'workflow' as ui_graph, sealed, dialect
        from sent_graphs where organisation_id = $1 and run_id = $2
        """,
        organisation_id,
        run_id,
    )
    return Along() if row is None else Along(row["ui_graph"], row["sealed"], row["dialect"])


async def drop_keys(db: Database) -> int:
    """Forget keys of other services that went along with runs that have ended; returns with how many."""
    rows = await db.fetch(
        """
        update sent_graphs g set sealed = null from runs r
        where g.sealed is not null and r.id = g.run_id and r.ended_at is not null returning g.run_id
        """
    )
    return len(rows)


class JobRow(Struct, frozen=True):
    """A run with what was said of its graph. ahead: how many waiting runs of the organisation come before it."""

    id: str
    status: Status
    created_at: datetime
    running_at: datetime | None
    ended_at: datetime | None
    attempts: int
    failure: dict[str, Any] | None
    labels: dict[str, str]
    ahead: int | None


class States(Struct, frozen=True):
    """The statuses of runs that are wanted: of those that never ran on a machine, and of those that have."""

    unstarted: list[Status]
    begun: list[Status]


_JOB: Final[LiteralString] = """
    select r.id, r.status, r.created_at, r.running_at, r.ended_at, r.attempts, r.failure,
           coalesce(g.labels, '{}') as labels,
           case when r.status = 'not-started' then (
             select count(*) from (
               select from runs w where w.status = 'not-started' and w.organisation_id = r.organisation_id
                 and (w.priority > r.priority or (w.priority = r.priority and w.id < r.id))
               limit 1000) as before_it) end as ahead
    from runs r left join sent_graphs g on g.run_id = r.id
"""


async def job(db: Database, organisation_id: str, run_id: str) -> JobRow | None:
    """A run as a job, or None when the organisation has no such run."""
    row = await db.fetchrow(_JOB + " where r.organisation_id = $1 and r.id = $2", organisation_id, run_id)
    return None if row is None else _job(row)


async def jobs(
    db: Database,
    organisation_id: str,
    labels: dict[str, str],
    states: States | None,
    before: UUID | None,
    limit: int,
) -> list[JobRow]:
    """Jobs with these labels, newest first, older than the job `before`. states: which; None: all."""
    rows = await db.fetch(
        _JOB
        + """
        where r.organisation_id = $1 and ($2::jsonb = '{}' or g.labels @> $2) and ($3::uuid is null or r.id < $3)
          and ($4::run_status[] is null
               or r.status = any(case when r.running_at is null then $4 else $5::run_status[] end))
        order by r.id desc limit $6
        """,
        organisation_id,
        labels,
        before,
        None if states is None else states.unstarted,
        None if states is None else states.begun,
        limit,
    )
    return [_job(row) for row in rows]


def _job(row: Record) -> JobRow:
    return JobRow(**{**dict(row), "id": str(row["id"])})


class SentRun(Struct, frozen=True):
    """The graph of a run: its version's, and the run's own inputs. extra: what went along with it."""

    api_graph: dict[str, Any]
    inputs: dict[str, Any]
    extra: dict[str, Any]


async def graph_of(db: Database, organisation_id: str, run_id: str) -> SentRun | None:
    """What a run executes, or None when the organisation has no such run."""
    row = await db.fetchrow(
        """
        select v.api_graph, r.inputs, coalesce(g.extra, '{}') as extra
        from runs r join workflow_versions v on v.id = r.version_id left join sent_graphs g on g.run_id = r.id
        where r.organisation_id = $1 and r.id = $2
        """,
        organisation_id,
        run_id,
    )
    return None if row is None else SentRun(row["api_graph"], row["inputs"], row["extra"])
