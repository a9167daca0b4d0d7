"""Versions as they were uploaded, by id or number, and their deletion, which hides them and keeps their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import Struct

from orchestrator.errors import Conflict
from orchestrator.runs.requirements import Requirements
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.workflows import Author

if TYPE_CHECKING:
    from asyncpg import Record


class Whole(Struct, frozen=True):
    """A version with all that was uploaded of it."""

    id: str
    workflow_id: str
    workflow_name: str
    version: int
    comment: str
    api_graph: dict[str, Any]
    ui_graph: Any
    snapshot: Any
    requirements: Requirements


async def by_id(db: Database, organisation_id: str, version_id: UUID) -> Whole | None:
    """The version of this id."""
    row = await db.fetchrow(
        """
        select v.id, v.workflow_id, w.name as workflow_name, v.version, v.comment, v.api_graph, v.ui_graph, v.snapshot,
               v.requirements
        from workflow_versions v join workflows w on w.id = v.workflow_id and w.deleted_at is null
        where v.organisation_id = $1 and v.id = $2 and v.deleted_at is null
        """,
        organisation_id,
        version_id,
    )
    return None if row is None else _whole(row)


async def by_number(db: Database, organisation_id: str, workflow_id: UUID, number: int) -> Whole | None:
    """A workflow's version of this number."""
    row = await db.fetchrow(
        """
        select v.id, v.workflow_id, w.name as workflow_name, v.version, v.comment, v.api_graph, v.ui_graph, v.snapshot,
               v.requirements
        from workflow_versions v join workflows w on w.id = v.workflow_id and w.deleted_at is null
        where v.organisation_id = $1 and v.workflow_id = $2 and v.version = $3 and v.deleted_at is null
        """,
        organisation_id,
        workflow_id,
        number,
    )
    return None if row is None else _whole(row)


async def one_before(db: Database, organisation_id: str, version: Whole) -> Whole | None:
    """The version that was the newest when this one was uploaded, if it is still there."""
    number = await db.fetchval(
        """
        select max(version) from workflow_versions
        where organisation_id = $1 and workflow_id = $2 and version < $3 and deleted_at is null
        """,
        organisation_id,
        UUID(version.workflow_id),
        version.version,
    )
    return None if number is None else await by_number(db, organisation_id, UUID(version.workflow_id), number)


def _whole(row: Record) -> Whole:
    values: dict[str, Any] = dict(row)
    values |= {"id": str(row["id"]), "workflow_id": str(row["workflow_id"])}
    values["requirements"] = msgspec.convert(row["requirements"], Requirements)
    return Whole(**values)


async def delete(db: Database, author: Author, workflow_id: UUID, number: int) -> bool:
    """Hide a version; its runs stay and its number is not used again. False: there is no such version.

    Raises Conflict (version_in_use) while a deployment points to it.
    """
    async with db.transaction() as connection:
        version_id = await connection.fetchval(
            """
            select id from workflow_versions
            where organisation_id = $1 and workflow_id = $2 and version = $3 and deleted_at is null for update
            """,
            author.organisation_id,
            workflow_id,
            number,
        )
        if version_id is None:
            return False
        used = await connection.fetchval(
            """
            select environment::text from deployments
            where organisation_id = $1 and workflow_id = $2 and deleted_at is null
              and (version_id = $3 or split @> jsonb_build_array(jsonb_build_object('version_id', $3::uuid)))
            limit 1
            """,
            author.organisation_id,
            workflow_id,
            version_id,
        )
        if used is not None:
            raise Conflict(f"the {used} deployment points to it: move that first", code="version_in_use")
        await connection.execute("update workflow_versions set deleted_at = now() where id = $1", version_id)
        subject = f"version:{version_id}"
        await audit.record(connection, author.organisation_id, author.actor, "version.delete", subject, version=number)
    return True
