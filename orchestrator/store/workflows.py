"""Workflows and their immutable versions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from orchestrator.errors import PreconditionFailed
from orchestrator.runs.requirements import Requirements
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import Version, VersionCreate, Workflow

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection


class Author(Struct, frozen=True):
    """Who makes something, and for which organisation."""

    organisation_id: str
    user_id: str | None
    actor: str


class NewVersion(Struct, frozen=True):
    """A version that was checked."""

    graphs: VersionCreate
    requirements: Requirements


async def create(db: Database, author: Author, name: str, first: NewVersion | None) -> Workflow:
    """A workflow, with version 1 when a graph is given."""
    workflow_id = uuid7()
    async with db.transaction() as connection:
        await connection.execute(
            "insert into workflows (id, organisation_id, name, created_by) values ($1, $2, $3, $4)",
            workflow_id,
            author.organisation_id,
            name,
            author.user_id,
        )
        subject = f"workflow:{workflow_id}"
        await audit.record(connection, author.organisation_id, author.actor, "workflow.create", subject, name=name)
        version = None if first is None else await _add(connection, author, workflow_id, first)
    made = await get(db, author.organisation_id, workflow_id)
    assert made is not None
    made.version = version
    return made


async def add_version(db: Database, author: Author, workflow_id: UUID, new: NewVersion) -> Version | None:
    """The next version of a workflow. None: there is no such workflow."""
    async with db.transaction() as connection:
        return await _add(connection, author, workflow_id, new)


async def _add(connection: AnyConnection, author: Author, workflow_id: UUID, new: NewVersion) -> Version | None:
    number = await connection.fetchval(
        """
        update workflows set latest_version = latest_version + 1, revision = revision + 1, updated_at = now()
        where organisation_id = $1 and id = $2 and deleted_at is null returning latest_version
        """,
        author.organisation_id,
        workflow_id,
    )
    if number is None:
        return None
    row = await connection.fetchrow(
        """
        insert into workflow_versions
          (id, organisation_id, workflow_id, version, api_graph, ui_graph, snapshot, requirements, comment, created_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        returning id, workflow_id, version, created_at, comment, requirements
        """,
        uuid7(),
        author.organisation_id,
        workflow_id,
        number,
        new.graphs.api_graph,
        new.graphs.ui_graph,
        new.graphs.snapshot,
        new.requirements,
        new.graphs.comment,
        author.user_id,
    )
    assert row is not None
    subject = f"version:{row['id']}"
    await audit.record(connection, author.organisation_id, author.actor, "version.create", subject, version=number)
    return _version(row)


async def get(db: Database, organisation_id: str, workflow_id: UUID) -> Workflow | None:
    """One workflow that was not deleted."""
    row = await db.fetchrow(
        """
        select id, name, latest_version, created_at, updated_at, revision from workflows
        where organisation_id = $1 and id = $2 and deleted_at is null
        """,
        organisation_id,
        workflow_id,
    )
    return None if row is None else _workflow(row)


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Workflow]:
    """Workflows that were not deleted, newest first."""
    rows = await db.fetch(
        """
        select id, name, latest_version, created_at, updated_at, revision from workflows
        where organisation_id = $1 and deleted_at is null and not hidden and ($2::uuid is null or id < $2)
        order by id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_workflow(row) for row in rows]


async def rename(db: Database, author: Author, workflow_id: UUID, name: str, expected: int | None) -> bool:
    """Give it another name. False: there is no such workflow. Raises PreconditionFailed."""
    async with db.transaction() as connection:
        if not await _held(connection, author.organisation_id, workflow_id, expected):
            return False
        await connection.execute(
            """
            update workflows set name = $3, revision = revision + 1, updated_at = now()
            where organisation_id = $1 and id = $2
            """,
            author.organisation_id,
            workflow_id,
            name,
        )
        subject = f"workflow:{workflow_id}"
        await audit.record(connection, author.organisation_id, author.actor, "workflow.rename", subject, name=name)
    return True


async def _held(connection: AnyConnection, organisation_id: str, workflow_id: UUID, expected: int | None) -> bool:
    """Hold the workflow against other changes. False: there is none. Raises PreconditionFailed."""
    revision = await connection.fetchval(
        "select revision from workflows where organisation_id = $1 and id = $2 and deleted_at is null for update",
        organisation_id,
        workflow_id,
    )
    if revision is not None and expected is not None and revision != expected:
        raise PreconditionFailed(f'the workflow was changed meanwhile: its ETag is "{revision}" now')
    return revision is not None


async def delete(db: Database, author: Author, workflow_id: UUID, expected: int | None = None) -> bool:
    """Hide a workflow and its deployments; its runs stay. False: there is none. Raises PreconditionFailed."""
    async with db.transaction() as connection:
        if not await _held(connection, author.organisation_id, workflow_id, expected):
            return False
        await connection.execute(
            """
            update workflows set deleted_at = now(), updated_at = now(), revision = revision + 1
            where organisation_id = $1 and id = $2
            """,
            author.organisation_id,
            workflow_id,
        )
        await connection.execute(
            "update deployments set deleted_at = now() where workflow_id = $1 and deleted_at is null", workflow_id
        )
        subject = f"workflow:{workflow_id}"
        await audit.record(connection, author.organisation_id, author.actor, "workflow.delete", subject)
    return True


async def version(db: Database, organisation_id: str, workflow_id: UUID, number: int) -> Version | None:
    """One version with its graphs."""
    row = await db.fetchrow(
        """
        select v.id, v.workflow_id, v.version, v.created_at, v.comment, v.requirements, v.api_graph, v.ui_graph,
               v.snapshot
        from workflow_versions v join workflows w on w.id = v.workflow_id and w.deleted_at is null
        where v.organisation_id = $1 and v.workflow_id = $2 and v.version = $3 and v.deleted_at is null
        """,
        organisation_id,
        workflow_id,
        number,
    )
    if row is None:
        return None
    found = _version(row)
    found.api_graph, found.ui_graph, found.snapshot = row["api_graph"], row["ui_graph"], row["snapshot"]
    return found


async def versions(
    db: Database, organisation_id: str, workflow_id: UUID, after: UUID | None, limit: int
) -> list[Version]:
    """A workflow's versions without their graphs, newest first."""
    rows = await db.fetch(
        """
        select id, workflow_id, version, created_at, comment, requirements from workflow_versions
        where organisation_id = $1 and workflow_id = $2 and deleted_at is null and ($3::uuid is null or id < $3)
        order by id desc limit $4
        """,
        organisation_id,
        workflow_id,
        after,
        limit,
    )
    return [_version(row) for row in rows]


def _workflow(row: Record) -> Workflow:
    return Workflow(
        id=str(row["id"]),
        name=row["name"],
        latest_version=row["latest_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
    )


def _version(row: Record) -> Version:
    needs = msgspec.convert(row["requirements"], Requirements)
    return Version(
        id=str(row["id"]),
        workflow_id=str(row["workflow_id"]),
        version=row["version"],
        created_at=row["created_at"],
        comment=row["comment"],
        inputs=needs.inputs,
        node_classes=needs.node_classes,
        models=needs.models,
        packs=needs.packs,
        outputs=needs.outputs,
    )
