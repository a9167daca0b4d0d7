"""What deployments pointed to: reading it, going back to it, and handing it on to another environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from orchestrator.errors import Conflict
from orchestrator.store import audit, deployments
from orchestrator.store.db import Database
from orchestrator.wire import DeploymentRevision, Environment, SplitPart

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection


async def page(
    db: Database, organisation_id: str, deployment_id: UUID, after: UUID | None, limit: int
) -> list[DeploymentRevision]:
    """What the deployment pointed to, newest first."""
    rows = await db.fetch(
        """
        select d.id, d.revision, d.action, d.version_id, v.version, d.actor, d.created_at, d.machine_id, d.pool,
          (select coalesce(jsonb_agg(jsonb_build_object('version_id', x.version_id, 'percent', x.percent,
                                                        'version', other.version)), '[]')
           from jsonb_to_recordset(d.split) as x(version_id uuid, percent int)
           join workflow_versions other on other.id = x.version_id) as split
        from deployment_history d join workflow_versions v on v.id = d.version_id
        where d.organisation_id = $1 and d.deployment_id = $2 and ($3::uuid is null or d.id < $3)
        order by d.id desc limit $4
        """,
        organisation_id,
        deployment_id,
        after,
        limit,
    )
    return [_revision(row) for row in rows]


def _revision(row: Record) -> DeploymentRevision:
    values: dict[str, Any] = dict(row)
    for name in ("id", "version_id", "machine_id"):
        values[name] = None if values[name] is None else str(values[name])
    values["split"] = msgspec.convert(values["split"], list[SplitPart])
    return DeploymentRevision(**values)


async def promote(
    db: Database, organisation_id: str, deployment_id: UUID, environment: Environment, actor: str
) -> UUID | None:
    """Have the workflow's deployment of that environment run the version that this one runs; returns its id.

    It keeps its own machines; one that is made takes over those of this deployment. None: there is no such deployment.
    """
    async with db.transaction() as connection:
        source = await deployments.locked(connection, organisation_id, deployment_id, None)
        if source is None:
            return None
        await _refuse_gone(connection, organisation_id, [source["version_id"]])
        there = await connection.fetchrow(
            """
            select machine_id, pool from deployments
            where organisation_id = $1 and workflow_id = $2 and environment = $3 and deleted_at is null for update
            """,
            organisation_id,
            source["workflow_id"],
            environment,
        )
        placed = source if there is None else there
        aim = deployments.Aim(source["version_id"], [], placed["machine_id"], placed["pool"])
        made, _ = await deployments.point(connection, organisation_id, source["workflow_id"], environment, aim)
        await deployments.note(connection, organisation_id, made, "promote", actor)
        detail = {"from": str(deployment_id), "version_id": str(source["version_id"])}
        await audit.record(connection, organisation_id, actor, "deployment.promote", f"deployment:{made}", **detail)
    return made


async def rollback(
    db: Database, organisation_id: str, deployment_id: UUID, revision: int | None, actor: str, expected: int | None
) -> bool:
    """Have it point where it pointed at a revision, or before its last change. False: there is no such deployment.

    Raises Conflict when there is nothing to go back to, or what was pointed to is gone; PreconditionFailed.
    """
    async with db.transaction() as connection:
        now = await deployments.locked(connection, organisation_id, deployment_id, expected)
        if now is None:
            return False
        before = await _before(connection, organisation_id, now, revision)
        if before is None:
            what = "it was not changed since it was made" if revision is None else f"it has no revision {revision}"
            raise Conflict(f"there is nothing to go back to: {what}", code="nothing_to_roll_back")
        named = [before["version_id"], *(UUID(part["version_id"]) for part in before["split"])]
        await _refuse_gone(connection, organisation_id, named)
        await deployments.check_machine(connection, organisation_id, before["machine_id"])
        aim = deployments.Aim(before["version_id"], before["split"], before["machine_id"], before["pool"])
        await deployments.move(connection, organisation_id, deployment_id, aim)
        await deployments.note(connection, organisation_id, deployment_id, "rollback", actor)
        detail = {"revision": before["revision"], "version_id": str(before["version_id"])}
        subject = f"deployment:{deployment_id}"
        await audit.record(connection, organisation_id, actor, "deployment.rollback", subject, **detail)
    return True


async def _before(connection: AnyConnection, organisation_id: str, now: Record, revision: int | None) -> Record | None:
    """The newest row of the history that points elsewhere, or that of a revision."""
    return await connection.fetchrow(
        """
        select revision, version_id, split, machine_id, pool from deployment_history
        where organisation_id = $1 and deployment_id = $2
          and case when $3::int is null
            then (version_id, split, coalesce(machine_id::text, ''), pool) is distinct from
                 ($4::uuid, $5::jsonb, coalesce($6::uuid::text, ''), $7::jsonb)
            else revision = $3 end
        order by id desc limit 1
        """,
        organisation_id,
        now["id"],
        revision,
        now["version_id"],
        now["split"],
        now["machine_id"],
        now["pool"],
    )


async def _refuse_gone(connection: AnyConnection, organisation_id: str, version_ids: list[UUID]) -> None:
    number = await connection.fetchval(
        """
        select version from workflow_versions
        where organisation_id = $1 and id = any($2::uuid[]) and deleted_at is not null limit 1
        """,
        organisation_id,
        version_ids,
    )
    if number is not None:
        raise Conflict(f"version {number} was deleted", code="version_gone")
