"""Machines: registering, enrolling, changing and listing them. Their heartbeats are another module's (fleet)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from drivers.wire import Inventory
from orchestrator.errors import Conflict
from orchestrator.store import audit, revisions
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import Machine, MachineCreate, MachineState, MachineUpdate

if TYPE_CHECKING:
    from asyncpg import Record


class Enrolled(Struct, frozen=True):
    """A machine whose agent has a credential."""

    id: str
    name: str
    organisation_id: str


class OpenAttempts(Conflict):
    """The machine still holds attempts."""

    code = "machine_busy"


async def create(db: Database, organisation_id: str, new: MachineCreate, actor: str) -> Machine:
    """Register a machine. Raises Conflict (name_taken)."""
    machine_id = uuid7()
    try:
        async with db.transaction() as connection:
            await connection.execute(
                """
                insert into machines (id, organisation_id, name, kind, endpoint, labels, endpoint_private)
                values ($1, $2, $3, $4, $5, $6, $7)
                """,
                machine_id,
                organisation_id,
                new.name,
                new.kind,
                new.endpoint,
                new.labels,
                new.endpoint_private,
            )
            subject = f"machine:{machine_id}"
            await audit.record(connection, organisation_id, actor, "machine.register", subject, name=new.name)
    except asyncpg.UniqueViolationError as error:
        raise _name_taken(new.name) from error
    made = await get(db, organisation_id, machine_id)
    assert made is not None
    return made


def _name_taken(name: str) -> Conflict:
    return Conflict(f"there is a machine named {name!r} already", code="name_taken")


async def get(db: Database, organisation_id: str, machine_id: UUID) -> Machine | None:
    """One machine that was not deleted."""
    row = await db.fetchrow(
        """
        select m.*, m.kind::text as kind, m.state::text as state, b.seen_at, coalesce(b.used_slots, 0) as used_slots,
               coalesce(b.connected and b.lease_until > now(), false) as live
        from machines m left join machine_beats b on b.machine_id = m.id
        where m.organisation_id = $1 and m.id = $2 and m.deleted_at is null
        """,
        organisation_id,
        machine_id,
    )
    return None if row is None else _machine(row)


async def page(db: Database, organisation_id: str, after: UUID | None, limit: int) -> list[Machine]:
    """Machines that were not deleted, newest first."""
    rows = await db.fetch(
        """
        select m.*, m.kind::text as kind, m.state::text as state, b.seen_at, coalesce(b.used_slots, 0) as used_slots,
               coalesce(b.connected and b.lease_until > now(), false) as live
        from machines m left join machine_beats b on b.machine_id = m.id
        where m.organisation_id = $1 and m.deleted_at is null and ($2::uuid is null or m.id < $2)
        order by m.id desc limit $3
        """,
        organisation_id,
        after,
        limit,
    )
    return [_machine(row) for row in rows]


async def update(
    db: Database,
    organisation_id: str,
    machine_id: UUID,
    change: MachineUpdate,
    actor: str,
    expected: int | None = None,
) -> bool:
    """Change what is given. False: there is no such machine. Raises Conflict (name_taken), PreconditionFailed."""
    try:
        async with db.transaction() as connection:
            await revisions.hold(connection, "machine", organisation_id, machine_id, expected)
            found = await connection.execute(
                """
                update machines set name = coalesce($3, name), labels = coalesce($4, labels),
                  policy = coalesce($5, policy), updated_at = now()
                where organisation_id = $1 and id = $2 and deleted_at is null
                """,
                organisation_id,
                machine_id,
                change.name,
                change.labels,
                None if change.policy is None else msgspec.to_builtins(change.policy),
            )
            if found == "UPDATE 0":
                return False
            detail: dict[str, Any] = msgspec.to_builtins(change)
            await audit.record(connection, organisation_id, actor, "machine.change", f"machine:{machine_id}", **detail)
    except asyncpg.UniqueViolationError as error:
        raise _name_taken(change.name or "") from error
    return True


async def set_draining(db: Database, organisation_id: str, machine_id: UUID, *, on: bool, actor: str) -> bool:
    """Drain or undrain; a machine that never enrolled goes back to pending.

    False: there is no such machine, or it is quarantined.
    """
    async with db.transaction() as connection:
        found = await connection.execute(
            """
            update machines set updated_at = now(), state = case
              when $3 then 'draining'::machine_state
              when credential_hash is null and endpoint is null then 'pending' else 'ready' end
            where organisation_id = $1 and id = $2 and deleted_at is null and state <> 'quarantined'
            """,
            organisation_id,
            machine_id,
            on,
        )
        if found == "UPDATE 0":
            return False
        action = "machine.drain" if on else "machine.undrain"
        await audit.record(connection, organisation_id, actor, action, f"machine:{machine_id}")
    return True


async def delete(
    db: Database, organisation_id: str, machine_id: UUID, *, force: bool, actor: str, expected: int | None = None
) -> bool:
    """Forget a machine and its agent's credential; its runs stay. False: there is no such machine.

    Raises OpenAttempts unless force is set or it holds nothing, PreconditionFailed.
    """
    async with db.transaction() as connection:
        await revisions.hold(connection, "machine", organisation_id, machine_id, expected)
        there = await connection.fetchval(
            "select id from machines where organisation_id = $1 and id = $2 and deleted_at is null for update",
            organisation_id,
            machine_id,
        )
        if there is None:
            return False
        held = await connection.fetchval(
            "select count(*) from attempts where machine_id = $1 and state <> 'ended'", machine_id
        )
        if held and not force:
            raise OpenAttempts(f"the machine holds {held} attempts: drain it first, or delete it with force=true")
        await connection.execute(
            """
            update machines set state = 'deleted', deleted_at = now(), updated_at = now(), credential_hash = null
            where id = $1
            """,
            machine_id,
        )
        await connection.execute("delete from enrol_tokens where machine_id = $1", machine_id)
        await connection.execute("delete from machine_secrets where machine_id = $1", machine_id)
        await connection.execute(
            "update machine_beats set lease_until = least(lease_until, now()), connected = false where machine_id = $1",
            machine_id,
        )
        await audit.record(connection, organisation_id, actor, "machine.delete", f"machine:{machine_id}", force=force)
    return True


async def add_enrol_token(
    db: Database, organisation_id: str, machine_id: UUID, token_hash: bytes, expires_at: datetime, actor: str
) -> bool:
    """Store a one-time token. False: there is no such machine."""
    async with db.transaction() as connection:
        made = await connection.execute(
            """
            insert into enrol_tokens (token_hash, organisation_id, machine_id, expires_at)
            select $3, organisation_id, id, $4 from machines
            where organisation_id = $1 and id = $2 and deleted_at is null
            """,
            organisation_id,
            machine_id,
            token_hash,
            expires_at,
        )
        if made == "INSERT 0 0":
            return False
        await audit.record(connection, organisation_id, actor, "machine.enrol_token", f"machine:{machine_id}")
    return True


async def enrol(db: Database, token_hash: bytes, credential_hash: bytes, agent_version: str) -> Enrolled | None:
    """Trade a one-time token for a credential; the agent that had the machine before is locked out by it."""
    async with db.transaction() as connection:
        machine_id = await connection.fetchval(
            """
            update enrol_tokens set used_at = now()
            where token_hash = $1 and used_at is null and expires_at > now() returning machine_id
            """,
            token_hash,
        )
        if machine_id is None:
            return None
        row = await connection.fetchrow(
            """
            update machines set credential_hash = $2, agent_version = $3, enrolled_at = now(), updated_at = now(),
              state = case when state = 'pending' then 'ready'::machine_state else state end
            where id = $1 and deleted_at is null returning id, name, organisation_id
            """,
            machine_id,
            credential_hash,
            agent_version[:100],
        )
        if row is None:
            return None
        actor = f"machine:{machine_id}"
        await audit.record(connection, str(row["organisation_id"]), actor, "machine.enrol", actor)
    return _enrolled(row)


async def by_credential(db: Database, credential_hash: bytes) -> Enrolled | None:
    """The machine whose agent has this credential."""
    row = await db.fetchrow(
        "select id, name, organisation_id from machines where credential_hash = $1 and deleted_at is null",
        credential_hash,
    )
    return None if row is None else _enrolled(row)


async def save_inventory(
    db: Database, machine_id: str, *, slots: int, inventory: Inventory, agent_version: str | None = None
) -> None:
    """What the agent said it has."""
    await db.execute(
        """
        update machines set slots = $2, inventory = $3, agent_version = coalesce($4, agent_version), updated_at = now()
        where id = $1
        """,
        machine_id,
        max(0, min(slots, 1024)),
        inventory,
        agent_version,
    )


def _enrolled(row: Record) -> Enrolled:
    return Enrolled(str(row["id"]), row["name"], str(row["organisation_id"]))


def _machine(row: Record) -> Machine:
    state: MachineState = row["state"]
    return Machine(
        id=str(row["id"]),
        name=row["name"],
        kind=row["kind"],
        state=state,
        created_at=row["created_at"],
        connected=row["live"],
        slots=row["slots"],
        used_slots=row["used_slots"],
        labels=row["labels"],
        endpoint=row["endpoint"],
        agent_version=row["agent_version"],
        seen_at=row["seen_at"],
        enrolled_at=row["enrolled_at"],
        inventory=row["inventory"],
        policy=row["policy"],
        quarantined_at=row["quarantined_at"],
        quarantine_reason=row["quarantine_reason"],
        endpoint_private=row["endpoint_private"],
    )
