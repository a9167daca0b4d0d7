"""Shares: links to deployments, by a slug that is never used twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from orchestrator.errors import Conflict, FieldError, Invalid
from orchestrator.runs.requirements import Requirements
from orchestrator.runs.sharing import VISIBILITY
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.store.workflows import Author
from orchestrator.wire import InputSpec, Share, Visibility

if TYPE_CHECKING:
    from asyncpg import Record


class Found(Struct, frozen=True):
    """A link that leads somewhere, for whoever has its slug."""

    id: str
    organisation_id: str
    deployment_id: str
    visibility: Visibility
    title: str
    description: str
    inputs: list[InputSpec]


_SHARE: Final[LiteralString] = """
select s.id, s.slug, s.deployment_id, d.environment::text as environment, s.title, s.description, s.created_at
from shares s join deployments d on d.id = s.deployment_id and d.deleted_at is null
"""


async def create(
    db: Database, author: Author, deployment_id: UUID, slug: str, title: str | None, description: str
) -> Share:
    """A link to a deployment. Raises Invalid when there is none that can be shared, Conflict when the slug is taken."""
    try:
        async with db.transaction() as connection:
            row = await connection.fetchrow(
                """
                select d.environment::text as environment, w.name from deployments d
                join workflows w on w.id = d.workflow_id
                where d.organisation_id = $1 and d.id = $2 and d.deleted_at is null for key share of d
                """,
                author.organisation_id,
                deployment_id,
            )
            _check(row, deployment_id)
            share_id = uuid7()
            await connection.execute(
                """
                insert into shares (id, organisation_id, deployment_id, slug, title, description, created_by)
                values ($1, $2, $3, $4, $5, $6, $7)
                """,
                share_id,
                author.organisation_id,
                deployment_id,
                slug,
                title or (row and row["name"]),
                description,
                author.user_id,
            )
            subject = f"share:{share_id}"
            await audit.record(connection, author.organisation_id, author.actor, "share.create", subject, slug=slug)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"the slug {slug!r} was used before", code="slug_taken") from error
    rows = await db.fetch(_SHARE + " where s.organisation_id = $1 and s.id = $2", author.organisation_id, share_id)
    return _share(rows[0])


def _check(row: Record | None, deployment_id: UUID) -> None:
    if row is None:
        message = f"there is no deployment {deployment_id}"
        errors = [FieldError("deployment_id", message, "deployment_not_found")]
        raise Invalid(f"deployment_id: {message}", code="deployment_not_found", errors=errors)
    if row["environment"] not in VISIBILITY:
        message = f"is of the environment {row['environment']}: deploy to public-share or private-share, and share that"
        raise Invalid(
            f"deployment_id: {message}",
            code="not_for_sharing",
            errors=[FieldError("deployment_id", message, "not_for_sharing")],
        )


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Share]:
    """Links that lead somewhere, newest first."""
    rows = await db.fetch(
        _SHARE
        + """
        where s.organisation_id = $1 and s.revoked_at is null and ($2::uuid is null or s.id < $2)
        order by s.id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_share(row) for row in rows]


async def slug_of(db: Database, organisation_id: str, deployment_id: str) -> str | None:
    """The newest link to a deployment; None: there is none."""
    found: str | None = await db.fetchval(
        """
        select slug from shares where organisation_id = $1 and deployment_id = $2 and revoked_at is null
        order by id desc limit 1
        """,
        organisation_id,
        deployment_id,
    )
    return found


async def by_slug(db: Database, slug: str) -> Found | None:
    """The link of this slug, of any organisation: who may use it is for the caller to decide."""
    row = await db.fetchrow(
        """
        select s.id, s.organisation_id, s.deployment_id, d.environment::text as environment, s.title, s.description,
               v.requirements
        from shares s join deployments d on d.id = s.deployment_id and d.deleted_at is null
        join workflow_versions v on v.id = d.version_id
        where s.slug = $1 and s.revoked_at is null
        """,
        slug,
    )
    if row is None or row["environment"] not in VISIBILITY:
        return None
    return Found(
        id=str(row["id"]),
        organisation_id=str(row["organisation_id"]),
        deployment_id=str(row["deployment_id"]),
        visibility=VISIBILITY[row["environment"]],
        title=row["title"],
        description=row["description"],
        inputs=msgspec.convert(row["requirements"], Requirements).inputs,
    )


async def revoke(db: Database, author: Author, slug: str) -> bool:
    """Have a link lead nowhere from now on. False: the organisation has no such link."""
    async with db.transaction() as connection:
        share_id = await connection.fetchval(
            """
            update shares set revoked_at = now() where organisation_id = $1 and slug = $2 and revoked_at is null
            returning id
            """,
            author.organisation_id,
            slug,
        )
        if share_id is None:
            return False
        subject = f"share:{share_id}"
        await audit.record(connection, author.organisation_id, author.actor, "share.revoke", subject, slug=slug)
    return True


def _share(row: Record) -> Share:
    values: dict[str, Any] = {name: row[name] for name in ("slug", "title", "description", "created_at")}
    return Share(
        id=str(row["id"]),
        deployment_id=str(row["deployment_id"]),
        visibility=VISIBILITY[row["environment"]],
        **values,
    )
