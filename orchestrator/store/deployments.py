"""Deployments: which version of a workflow an environment runs, and on which machines."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from orchestrator.errors import FieldError, Invalid
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import Deployment, Environment

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection


class Placement(Struct, frozen=True):
    """What a deployment is made of."""

    version_id: UUID
    environment: Environment
    machine_id: UUID | None
    pool: dict[str, str]


async def put(db: Database, organisation_id: str, new: Placement, actor: str) -> tuple[UUID, bool]:
    """Make or move the deployment of the version's workflow in that environment; returns (id, whether it is new).

    Raises Invalid when the version or the machine is not the organisation's.
    """
    async with db.transaction() as connection:
        workflow_id = await _workflow_of(connection, organisation_id, new.version_id)
        await _check_machine(connection, organisation_id, new.machine_id)
        row = await connection.fetchrow(
            """
            insert into deployments (id, organisation_id, workflow_id, version_id, environment, machine_id, pool)
            values ($1, $2, $3, $4, $5, $6, $7)
            on conflict (workflow_id, environment) where deleted_at is null do update set
              version_id = excluded.version_id, machine_id = excluded.machine_id, pool = excluded.pool,
              updated_at = now()
            returning id, xmax = 0 as made
            """,
            uuid7(),
            organisation_id,
            workflow_id,
            new.version_id,
            new.environment,
            new.machine_id,
            new.pool,
        )
        assert row is not None
        detail = {"version_id": str(new.version_id), "environment": new.environment}
        await audit.record(connection, organisation_id, actor, "deployment.put", f"deployment:{row['id']}", **detail)
    return row["id"], row["made"]


async def _workflow_of(connection: AnyConnection, organisation_id: str, version_id: UUID) -> UUID:
    workflow_id: UUID | None = await connection.fetchval(
        """
        select v.workflow_id from workflow_versions v join workflows w on w.id = v.workflow_id
        where v.organisation_id = $1 and v.id = $2 and w.deleted_at is null for key share of w
        """,
        organisation_id,
        version_id,
    )
    if workflow_id is None:
        raise _unknown("version_id", f"there is no version {version_id}", "version_not_found")
    return workflow_id


async def _check_machine(connection: AnyConnection, organisation_id: str, machine_id: UUID | None) -> None:
    if machine_id is None:
        return
    found = await connection.fetchval(
        "select true from machines where organisation_id = $1 and id = $2 and deleted_at is null",
        organisation_id,
        machine_id,
    )
    if not found:
        raise _unknown("machine_id", f"there is no machine {machine_id}", "machine_not_found")


def _unknown(path: str, message: str, code: str) -> Invalid:
    return Invalid(f"{path}: {message}", code=code, errors=[FieldError(path, message, code)])


async def change(
    db: Database,
    organisation_id: str,
    deployment_id: UUID,
    *,
    version_id: UUID | None,
    machine_id: UUID | UnsetType | None,
    pool: dict[str, str] | None,
    actor: str,
) -> bool:
    """Change what is given. False: there is no such deployment. Raises Invalid for a version of another workflow."""
    async with db.transaction() as connection:
        workflow_id = await connection.fetchval(
            """
            select workflow_id from deployments
            where organisation_id = $1 and id = $2 and deleted_at is null for update
            """,
            organisation_id,
            deployment_id,
        )
        if workflow_id is None:
            return False
        if version_id is not None and await _workflow_of(connection, organisation_id, version_id) != workflow_id:
            raise _unknown("version_id", "is a version of another workflow", "other_workflow")
        pinned = None if machine_id is UNSET else machine_id
        assert not isinstance(pinned, UnsetType)
        await _check_machine(connection, organisation_id, pinned)
        await connection.execute(
            """
            update deployments set version_id = coalesce($2, version_id), pool = coalesce($3, pool),
              machine_id = case when $4 then $5 else machine_id end, updated_at = now()
            where id = $1
            """,
            deployment_id,
            version_id,
            pool,
            machine_id is not UNSET,
            pinned,
        )
        await audit.record(connection, organisation_id, actor, "deployment.change", f"deployment:{deployment_id}")
    return True


async def get(db: Database, organisation_id: str, deployment_id: UUID) -> Deployment | None:
    """One deployment that was not deleted."""
    row = await db.fetchrow(
        """
        select d.*, d.environment::text as environment, w.name as workflow_name, v.version from deployments d
        join workflows w on w.id = d.workflow_id join workflow_versions v on v.id = d.version_id
        where d.organisation_id = $1 and d.id = $2 and d.deleted_at is null
        """,
        organisation_id,
        deployment_id,
    )
    return None if row is None else _deployment(row)


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Deployment]:
    """Deployments that were not deleted, newest first."""
    rows = await db.fetch(
        """
        select d.*, d.environment::text as environment, w.name as workflow_name, v.version from deployments d
        join workflows w on w.id = d.workflow_id join workflow_versions v on v.id = d.version_id
        where d.organisation_id = $1 and d.deleted_at is null and ($2::uuid is null or d.id < $2)
        order by d.id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_deployment(row) for row in rows]


async def delete(db: Database, organisation_id: str, deployment_id: UUID, actor: str) -> bool:
    """Take a deployment away; its runs stay. False: there is no such deployment."""
    async with db.transaction() as connection:
        found = await connection.execute(
            """
            update deployments set deleted_at = now(), updated_at = now()
            where organisation_id = $1 and id = $2 and deleted_at is null
            """,
            organisation_id,
            deployment_id,
        )
        if found == "UPDATE 0":
            return False
        await audit.record(connection, organisation_id, actor, "deployment.delete", f"deployment:{deployment_id}")
    return True


def _deployment(row: Record) -> Deployment:
    return Deployment(
        id=str(row["id"]),
        workflow_id=str(row["workflow_id"]),
        workflow_name=row["workflow_name"],
        version_id=str(row["version_id"]),
        version=row["version"],
        environment=row["environment"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        machine_id=None if row["machine_id"] is None else str(row["machine_id"]),
        pool=row["pool"],
    )
