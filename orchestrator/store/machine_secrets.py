"""Secrets of machines, sealed before they come here. Every change raises the machine's secrets_revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from msgspec import Struct

from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.wire import MachineSecret

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection

MOST: Final = 64
RESEALED: Final = 100


class Sealed(Struct, frozen=True):
    """A secret as it is stored; key: which master key sealed it."""

    organisation_id: str
    machine_id: str
    name: str
    sealed: bytes
    key: str
    fingerprint: str


async def listed(db: Database, organisation_id: str, machine_id: UUID) -> list[MachineSecret]:
    """By name, without their values; there are never more than MOST."""
    rows = await db.fetch(
        """
        select name, fingerprint, created_by, created_at, updated_at from machine_secrets
        where organisation_id = $1 and machine_id = $2 order by name
        """,
        organisation_id,
        machine_id,
    )
    return [MachineSecret(**dict(row)) for row in rows]


async def save(db: Database, secret: Sealed, actor: str) -> MachineSecret | None:
    """Keep a secret in place of the one of that name; None: there is no such machine, or it has too many."""
    async with db.transaction() as connection:
        if not await _raise_revision(connection, secret.organisation_id, secret.machine_id):
            return None
        row = await connection.fetchrow(
            """
            insert into machine_secrets
              (organisation_id, machine_id, name, sealed, seal_key, fingerprint, created_by)
            select $1, $2, $3, $4, $5, $6, $7
            where (select count(*) from machine_secrets where machine_id = $2 and name <> $3) < $8
            on conflict (machine_id, name) do update
              set sealed = excluded.sealed, seal_key = excluded.seal_key, fingerprint = excluded.fingerprint,
                  created_by = excluded.created_by, updated_at = now()
            returning name, fingerprint, created_by, created_at, updated_at
            """,
            secret.organisation_id,
            secret.machine_id,
            secret.name,
            secret.sealed,
            secret.key,
            secret.fingerprint,
            actor,
            MOST,
        )
        if row is None:
            return None
        subject = f"machine:{secret.machine_id}"
        await audit.record(connection, secret.organisation_id, actor, "machine.set_secret", subject, name=secret.name)
    return MachineSecret(**dict(row))


async def delete(db: Database, organisation_id: str, machine_id: UUID, name: str, actor: str) -> bool:
    """Forget a secret; False: there is none of that name."""
    async with db.transaction() as connection:
        done = await connection.execute(
            "delete from machine_secrets where organisation_id = $1 and machine_id = $2 and name = $3",
            organisation_id,
            machine_id,
            name,
        )
        if done == "DELETE 0":
            return False
        await _raise_revision(connection, organisation_id, str(machine_id))
        subject = f"machine:{machine_id}"
        await audit.record(connection, organisation_id, actor, "machine.delete_secret", subject, name=name)
    return True


async def _raise_revision(connection: AnyConnection, organisation_id: str, machine_id: str) -> bool:
    """Also the lock under which a machine's secrets are counted. False: there is no such machine."""
    done: str = await connection.execute(
        """
        update machines set secrets_revision = secrets_revision + 1, updated_at = now()
        where organisation_id = $1 and id = $2 and deleted_at is null
        """,
        organisation_id,
        machine_id,
    )
    return done == "UPDATE 1"


async def of_machine(db: Database, organisation_id: str, machine_id: str) -> list[Sealed]:
    """All of a machine that was not deleted, for whoever may open them."""
    rows = await db.fetch(
        """
        select s.organisation_id::text, s.machine_id::text, s.name, s.sealed, s.seal_key as key, s.fingerprint
        from machine_secrets s join machines m on m.id = s.machine_id and m.organisation_id = s.organisation_id
        where s.organisation_id = $1 and s.machine_id = $2 and m.deleted_at is null order by s.name
        """,
        organisation_id,
        machine_id,
    )
    return [Sealed(**dict(row)) for row in rows]


async def sealed_otherwise(db: Database, key: str) -> list[Sealed]:
    """Secrets of all organisations that another master key sealed, a bounded number of them."""
    rows = await db.fetch(
        """
        select organisation_id::text, machine_id::text, name, sealed, seal_key as key, fingerprint from machine_secrets
        where seal_key <> $1 order by machine_id, name limit $2
        """,
        key,
        RESEALED,
    )
    return [Sealed(**dict(row)) for row in rows]


async def reseal(db: Database, old: Sealed, new: Sealed) -> None:
    """Exchange how a secret is sealed, unless it was set anew meanwhile. Its value is the same: no revision."""
    await db.execute(
        """
        update machine_secrets set sealed = $4, seal_key = $5, fingerprint = $6
        where machine_id = $1 and name = $2 and sealed = $3
        """,
        old.machine_id,
        old.name,
        old.sealed,
        new.sealed,
        new.key,
        new.fingerprint,
    )
