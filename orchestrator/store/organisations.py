"""An organisation itself, its node policy and its secrets (sealed before they come here)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from orchestrator.store import audit, revisions
from orchestrator.store.db import Database
from orchestrator.wire import NodePolicy, Organisation, OrganisationUpdate, SecretInfo

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import AnyConnection

MOST_SECRETS = 500
MOST_GIVEN = 32
"""Of those, how many machines are given: an environment has its limits."""
RESEALED = 100


async def get(db: Database, organisation_id: str) -> Organisation | None:
    """The organisation."""
    row = await db.fetchrow(
        "select id::text, name, slug, created_at, node_policy from organisations where id = $1", organisation_id
    )
    return _organisation(row) if row else None


def _organisation(row: Record) -> Organisation:
    return Organisation(**{**dict(row), "node_policy": msgspec.convert(row["node_policy"], NodePolicy)})


async def policy_of(db: Database, organisation_id: str) -> NodePolicy:
    """Which node classes it lets run."""
    stored = await db.fetchval("select node_policy from organisations where id = $1", organisation_id)
    return msgspec.convert(stored or {}, NodePolicy)


async def update(
    db: Database, organisation_id: str, change: OrganisationUpdate, actor: str, expected: int | None = None
) -> Organisation | None:
    """Change what is given. Raises PreconditionFailed."""
    policy = None if change.node_policy is None else msgspec.to_builtins(change.node_policy)
    async with db.transaction() as connection:
        await revisions.hold(connection, "organisation", organisation_id, organisation_id, expected)
        row = await connection.fetchrow(
            """
            update organisations set name = coalesce($2, name), node_policy = coalesce($3, node_policy)
            where id = $1 returning id::text, name, slug, created_at, node_policy
            """,
            organisation_id,
            change.name,
            policy,
        )
        if row is None:
            return None
        changed = {key: value for key, value in (("name", change.name), ("node_policy", policy)) if value is not None}
        subject = f"organisation:{organisation_id}"
        await audit.record(connection, organisation_id, actor, "organisation.change", subject, **changed)
    return _organisation(row)


# Secrets


class Sealed(Struct, frozen=True):
    """A secret as it is stored; key: which master key sealed it. machines: labels of those it is given to."""

    organisation_id: str
    name: str
    sealed: bytes
    key: str
    machines: dict[str, str] | None = None


async def secrets(db: Database, organisation_id: str) -> list[SecretInfo]:
    """By name, without their values; there are never more than MOST_SECRETS."""
    rows = await db.fetch(
        """
        select name, created_by, created_at, updated_at, machines from secrets
        where organisation_id = $1 order by name
        """,
        organisation_id,
    )
    return [SecretInfo(**dict(row)) for row in rows]


async def set_secret(db: Database, secret: Sealed, actor: str) -> SecretInfo | None:
    """Keep a secret in place of the one of that name; None: the organisation has too many."""
    async with db.transaction() as connection:
        await connection.execute("select from organisations where id = $1 for update", secret.organisation_id)
        was = await _given_to(connection, secret.organisation_id, secret.name)
        row = await connection.fetchrow(
            """
            insert into secrets (organisation_id, name, sealed, seal_key, created_by, machines)
            select $1, $2, $3, $4, $5, $7
            where (select count(*) from secrets where organisation_id = $1 and name <> $2) < $6
              and ($7::jsonb is null or (select count(*) from secrets
                where organisation_id = $1 and name <> $2 and machines is not null) < $8)
            on conflict (organisation_id, name) do update
              set sealed = excluded.sealed, seal_key = excluded.seal_key, created_by = excluded.created_by,
                  updated_at = now(), machines = excluded.machines
            returning name, created_by, created_at, updated_at, machines
            """,
            secret.organisation_id,
            secret.name,
            secret.sealed,
            secret.key,
            actor,
            MOST_SECRETS,
            secret.machines,
            MOST_GIVEN,
        )
        if row is None:
            return None
        await _tell_machines(connection, secret.organisation_id, was, secret.machines)
        await audit.record(connection, secret.organisation_id, actor, "secret.set", f"secret:{secret.name}")
    return SecretInfo(**dict(row))


async def delete_secret(db: Database, organisation_id: str, name: str, actor: str) -> bool:
    """Forget a secret; False: there is none of that name."""
    async with db.transaction() as connection:
        was = await _given_to(connection, organisation_id, name)
        done = await connection.execute(
            "delete from secrets where organisation_id = $1 and name = $2", organisation_id, name
        )
        if done == "DELETE 0":
            return False
        await _tell_machines(connection, organisation_id, was, None)
        await audit.record(connection, organisation_id, actor, "secret.delete", f"secret:{name}")
    return True


async def _given_to(connection: AnyConnection, organisation_id: str, name: str) -> dict[str, str] | None:
    """Which machines have a secret, by their labels; None: none, or there is no such secret."""
    found: dict[str, str] | None = await connection.fetchval(
        "select machines from secrets where organisation_id = $1 and name = $2", organisation_id, name
    )
    return found


async def _tell_machines(
    connection: AnyConnection, organisation_id: str, was: dict[str, str] | None, now: dict[str, str] | None
) -> None:
    """Machines that had a secret, or have it from now on, are told all of theirs anew."""
    if was is None and now is None:
        return
    await connection.execute(
        """
        update machines set secrets_revision = secrets_revision + 1, updated_at = now()
        where organisation_id = $1 and deleted_at is null and (labels @> $2::jsonb or labels @> $3::jsonb)
        """,
        organisation_id,
        was,
        now,
    )


async def given(db: Database, organisation_id: str, machine_id: str) -> list[Sealed]:
    """The organisation's secrets that a machine is given because of its labels."""
    rows = await db.fetch(
        """
        select s.organisation_id::text, s.name, s.sealed, s.seal_key as key, s.machines
        from secrets s join machines m on m.organisation_id = s.organisation_id and m.labels @> s.machines
        where s.organisation_id = $1 and m.id = $2 and m.deleted_at is null order by s.name
        """,
        organisation_id,
        machine_id,
    )
    return [Sealed(**dict(row)) for row in rows]


async def sealed_secret(db: Database, organisation_id: str, name: str) -> bytes | None:
    """The secret as it is stored, for whoever may open it."""
    stored: bytes | None = await db.fetchval(
        "select sealed from secrets where organisation_id = $1 and name = $2", organisation_id, name
    )
    return stored


async def sealed_otherwise(db: Database, key: str) -> list[Sealed]:
    """Secrets of all organisations that another master key sealed, a bounded number of them."""
    rows = await db.fetch(
        """
        select organisation_id::text, name, sealed, seal_key as key from secrets
        where seal_key <> $1 order by organisation_id, name limit $2
        """,
        key,
        RESEALED,
    )
    return [Sealed(**dict(row)) for row in rows]


async def reseal(db: Database, old: Sealed, sealed: bytes, key: str) -> None:
    """Exchange how a secret is sealed, unless it was set anew meanwhile."""
    await db.execute(
        """
        update secrets set sealed = $4, seal_key = $5 where organisation_id = $1 and name = $2 and sealed = $3
        """,
        old.organisation_id,
        old.name,
        old.sealed,
        sealed,
        key,
    )
