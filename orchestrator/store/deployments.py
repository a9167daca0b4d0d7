"""Deployments: which version of a workflow an environment runs, and on which machines. Every change leaves its row.

What a deployment points to (version, split, machine, pool) is written to its history in the transaction that changes
it; going back and promoting take it from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET, Struct, UnsetType

from orchestrator.errors import Conflict, FieldError, Invalid, PreconditionFailed
from orchestrator.runs.split import WHOLE
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import Deployment, Environment, SplitPart

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection


class Placement(Struct, frozen=True):
    """What a deployment is made of. alias and description: None leaves them as they are."""

    version_id: UUID
    environment: Environment
    machine_id: UUID | None
    pool: dict[str, str]
    split: list[SplitPart] = []
    alias: str | None = None
    description: str | None = None


class Aim(Struct, frozen=True):
    """What a deployment points to."""

    version_id: UUID
    split: list[dict[str, Any]]
    machine_id: UUID | None
    pool: dict[str, str]


_SPLIT: Final[LiteralString] = """
  (select coalesce(jsonb_agg(jsonb_build_object('version_id', x.version_id, 'percent', x.percent,
                                                'version', other.version)), '[]')
   from jsonb_to_recordset(d.split) as x(version_id uuid, percent int)
   join workflow_versions other on other.id = x.version_id) as split
"""
_DEPLOYMENT: Final[LiteralString] = (
    "select d.id, d.workflow_id, w.name as workflow_name, d.version_id, v.version, d.environment::text as environment,"
    " d.created_at, d.updated_at, d.machine_id, d.pool, d.alias, d.description, d.revision," + _SPLIT + " from"
    " deployments d join workflows w on w.id = d.workflow_id join workflow_versions v on v.id = d.version_id"
)


async def put(db: Database, organisation_id: str, new: Placement, actor: str) -> tuple[UUID, bool]:
    """Make or move the deployment of the version's workflow in that environment; returns (id, whether it is new).

    Raises Invalid when the version or the machine is not the organisation's, Conflict when the alias is taken.
    """
    async with db.transaction() as connection:
        workflow_id = await _workflow_of(connection, organisation_id, new.version_id)
        await check_machine(connection, organisation_id, new.machine_id)
        parts = await _check_split(connection, organisation_id, workflow_id, new.version_id, new.split)
        aim = Aim(new.version_id, parts, new.machine_id, new.pool)
        deployment_id, made = await point(connection, organisation_id, workflow_id, new.environment, aim)
        await _name(connection, deployment_id, new.alias or UNSET, new.description)
        await note(connection, organisation_id, deployment_id, "deploy", actor)
        detail = {"version_id": str(new.version_id), "environment": new.environment}
        await audit.record(
            connection, organisation_id, actor, "deployment.put", f"deployment:{deployment_id}", **detail
        )
    return deployment_id, made


async def point(
    connection: AnyConnection, organisation_id: str, workflow_id: UUID, environment: str, aim: Aim
) -> tuple[UUID, bool]:
    """Make the workflow's deployment of an environment, or have it point here; returns (id, whether it is new)."""
    row = await connection.fetchrow(
        """
        insert into deployments (id, organisation_id, workflow_id, version_id, environment, machine_id, pool, split)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (workflow_id, environment) where deleted_at is null do update set
          version_id = excluded.version_id, machine_id = excluded.machine_id, pool = excluded.pool,
          split = excluded.split, revision = deployments.revision + 1, updated_at = now()
        returning id, xmax = 0 as made
        """,
        uuid7(),
        organisation_id,
        workflow_id,
        aim.version_id,
        environment,
        aim.machine_id,
        aim.pool,
        aim.split,
    )
    assert row is not None
    return row["id"], row["made"]


async def note(connection: AnyConnection, organisation_id: str, deployment_id: UUID, action: str, actor: str) -> None:
    """Add what the deployment points to now to its history."""
    await connection.execute(
        """
        insert into deployment_history
          (id, organisation_id, deployment_id, revision, action, version_id, split, machine_id, pool, actor)
        select $1, organisation_id, id, revision, $4, version_id, split, machine_id, pool, $5
        from deployments where organisation_id = $2 and id = $3
        """,
        uuid7(),
        organisation_id,
        deployment_id,
        action,
        actor,
    )


async def _name(
    connection: AnyConnection, deployment_id: UUID, alias: str | UnsetType | None, description: str | None
) -> None:
    if alias is UNSET and description is None:
        return
    try:
        await connection.execute(
            """
            update deployments set alias = case when $2 then $3 else alias end, description = coalesce($4, description)
            where id = $1
            """,
            deployment_id,
            alias is not UNSET,
            None if alias is UNSET else alias,
            description,
        )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"another deployment has the alias {alias!r} already", code="alias_taken") from error


async def _workflow_of(connection: AnyConnection, organisation_id: str, version_id: UUID) -> UUID:
    workflow_id: UUID | None = await connection.fetchval(
        """
        select v.workflow_id from workflow_versions v join workflows w on w.id = v.workflow_id
        where v.organisation_id = $1 and v.id = $2 and v.deleted_at is null and w.deleted_at is null
        for key share of w, v
        """,
        organisation_id,
        version_id,
    )
    if workflow_id is None:
        raise _unknown("version_id", f"there is no version {version_id}", "version_not_found")
    return workflow_id


async def check_machine(connection: AnyConnection, organisation_id: str, machine_id: UUID | None) -> None:
    """Raise Invalid when a deployment may not be pinned to this."""
    if machine_id is None:
        return
    found = await connection.fetchval(
        "select true from machines where organisation_id = $1 and id = $2 and deleted_at is null",
        organisation_id,
        machine_id,
    )
    if not found:
        raise _unknown("machine_id", f"there is no machine {machine_id}", "machine_not_found")


async def _check_split(
    connection: AnyConnection, organisation_id: str, workflow_id: UUID, main: UUID, split: list[SplitPart]
) -> list[dict[str, Any]]:
    """The split as it is stored: other versions of the workflow, each once, together 100 at most. Raises Invalid."""
    if sum(part.percent for part in split) > WHOLE:
        raise _unknown("split", f"the shares come to more than {WHOLE} percent", "bad_split")
    found: dict[UUID, int] = {}
    for place, part in enumerate(split):
        path = f"split[{place}].version_id"
        version_id = _uuid(path, part.version_id)
        if version_id == main or version_id in found:
            raise _unknown(path, "is named twice: a version has one share", "bad_split")
        if await _workflow_of(connection, organisation_id, version_id) != workflow_id:
            raise _unknown(path, "is a version of another workflow", "other_workflow")
        found[version_id] = part.percent
    return [{"version_id": str(version_id), "percent": percent} for version_id, percent in found.items()]


def _uuid(path: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise _unknown(path, f"there is no version {text[:64]!r}", "version_not_found") from error


def _unknown(path: str, message: str, code: str) -> Invalid:
    return Invalid(f"{path}: {message}", code=code, errors=[FieldError(path, message, code)])


async def locked(
    connection: AnyConnection, organisation_id: str, deployment_id: UUID, expected: int | None
) -> Record | None:
    """The deployment, held against other changes. Raises PreconditionFailed when it is at another revision."""
    row = await connection.fetchrow(
        """
        select id, workflow_id, version_id, split, machine_id, pool, revision, environment::text as environment
        from deployments where organisation_id = $1 and id = $2 and deleted_at is null for update
        """,
        organisation_id,
        deployment_id,
    )
    if row is not None and expected is not None and row["revision"] != expected:
        raise PreconditionFailed(f'the deployment was changed meanwhile: its ETag is "{row["revision"]}" now')
    return row


async def change(
    db: Database,
    organisation_id: str,
    deployment_id: UUID,
    *,
    version_id: UUID | None,
    machine_id: UUID | UnsetType | None,
    pool: dict[str, str] | None,
    actor: str,
    split: list[SplitPart] | None = None,
    alias: str | UnsetType | None = UNSET,
    description: str | None = None,
    expected: int | None = None,
) -> bool:
    """Change what is given. False: there is no such deployment. Raises Invalid, Conflict, PreconditionFailed."""
    async with db.transaction() as connection:
        now = await locked(connection, organisation_id, deployment_id, expected)
        if now is None:
            return False
        target = version_id or now["version_id"]
        if version_id is not None and await _workflow_of(connection, organisation_id, version_id) != now["workflow_id"]:
            raise _unknown("version_id", "is a version of another workflow", "other_workflow")
        if split is None:
            split = msgspec.convert(now["split"], list[SplitPart])
            split = [part for part in split if part.version_id != str(target)]
        pinned = now["machine_id"] if isinstance(machine_id, UnsetType) else machine_id
        if not isinstance(machine_id, UnsetType):
            await check_machine(connection, organisation_id, pinned)
        parts = await _check_split(connection, organisation_id, now["workflow_id"], target, split)
        aim = Aim(target, parts, pinned, now["pool"] if pool is None else pool)
        await move(connection, organisation_id, deployment_id, aim)
        await _name(connection, deployment_id, alias, description)
        if aim != Aim(now["version_id"], now["split"], now["machine_id"], now["pool"]):
            await note(connection, organisation_id, deployment_id, "change", actor)
        await audit.record(connection, organisation_id, actor, "deployment.change", f"deployment:{deployment_id}")
    return True


async def move(connection: AnyConnection, organisation_id: str, deployment_id: UUID, aim: Aim) -> None:
    """Have it point here."""
    await connection.execute(
        """
        update deployments set version_id = $3, split = $4, machine_id = $5, pool = $6, revision = revision + 1,
          updated_at = now()
        where organisation_id = $1 and id = $2
        """,
        organisation_id,
        deployment_id,
        aim.version_id,
        aim.split,
        aim.machine_id,
        aim.pool,
    )


async def get(db: Database, organisation_id: str, deployment_id: UUID) -> Deployment | None:
    """One deployment that was not deleted."""
    row = await db.fetchrow(
        _DEPLOYMENT + " where d.organisation_id = $1 and d.id = $2 and d.deleted_at is null",
        organisation_id,
        deployment_id,
    )
    return None if row is None else _deployment(row)


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Deployment]:
    """Deployments that were not deleted, newest first."""
    rows = await db.fetch(
        _DEPLOYMENT
        + """
        where d.organisation_id = $1 and d.deleted_at is null and ($2::uuid is null or d.id < $2)
        order by d.id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_deployment(row) for row in rows]


async def delete(
    db: Database, organisation_id: str, deployment_id: UUID, actor: str, expected: int | None = None
) -> bool:
    """Take a deployment away; its runs stay. False: there is no such deployment. Raises PreconditionFailed."""
    async with db.transaction() as connection:
        if await locked(connection, organisation_id, deployment_id, expected) is None:
            return False
        await connection.execute(
            """
            update deployments set deleted_at = now(), updated_at = now(), revision = revision + 1
            where organisation_id = $1 and id = $2
            """,
            organisation_id,
            deployment_id,
        )
        await audit.record(connection, organisation_id, actor, "deployment.delete", f"deployment:{deployment_id}")
    return True


def _deployment(row: Record) -> Deployment:
    values: dict[str, Any] = dict(row)
    for name in ("id", "workflow_id", "version_id", "machine_id"):
        values[name] = None if values[name] is None else str(values[name])
    values["split"] = msgspec.convert(values["split"], list[SplitPart])
    return Deployment(**values)
