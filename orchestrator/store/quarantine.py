"""Machines taken out of use because they fail, by the orchestrator or by hand, and let in again; and their events."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from drivers.wire import MachineId
from orchestrator.store import audit
from orchestrator.wire import MachineEvent

if TYPE_CHECKING:
    from orchestrator.store.db import Database


async def automatic(db: Database, suspects: dict[MachineId, tuple[int, str]], limit: int) -> list[MachineId]:
    """Quarantine those whose faults in a row reach their policy's quarantine_after (else limit; 0: never).

    suspects: streak and reason by machine. The last machine of an organisation that can take runs stays: a bad machine
    is better than none. Machines are judged one after the other, so that two do not both count on each other.
    """
    taken = []
    for machine_id, (streak, reason) in suspects.items():
        async with db.transaction() as connection:
            organisation_id = await connection.fetchval(
                """
                select m.organisation_id from machines m join organisations o on o.id = m.organisation_id
                where m.id = $1 and m.state = 'ready' and m.deleted_at is null
                  and coalesce((m.policy ->> 'quarantine_after')::int, $2) between 1 and $3
                for update of o
                """,
                machine_id,
                limit,
                streak,
            )
            if organisation_id is None:
                continue
            done = await connection.execute(
                """
                update machines m set state = 'quarantined', quarantined_at = now(), quarantine_reason = $2,
                  updated_at = now()
                where m.id = $1 and m.state = 'ready' and exists (
                  select from machines x join machine_beats b on b.machine_id = x.id
                  where x.organisation_id = m.organisation_id and x.id <> m.id and x.state = 'ready'
                    and x.deleted_at is null and b.connected and b.lease_until > now())
                """,
                machine_id,
                reason,
            )
            if done == "UPDATE 0":
                continue
            subject = f"machine:{machine_id}"
            await audit.record(connection, str(organisation_id), "system", "machine.quarantine", subject, reason=reason)
        taken.append(machine_id)
    return taken


async def by_hand(db: Database, organisation_id: str, machine_id: UUID, reason: str, actor: str) -> bool:
    """Quarantine a machine; one that is quarantined gets the new reason. False: there is no such machine."""
    async with db.transaction() as connection:
        done = await connection.execute(
            """
            update machines set state = 'quarantined', quarantined_at = coalesce(quarantined_at, now()),
              quarantine_reason = $3, updated_at = now()
            where organisation_id = $1 and id = $2 and deleted_at is null
            """,
            organisation_id,
            machine_id,
            reason,
        )
        if done == "UPDATE 0":
            return False
        subject = f"machine:{machine_id}"
        await audit.record(connection, organisation_id, actor, "machine.quarantine", subject, reason=reason)
    return True


async def release(db: Database, organisation_id: str, machine_id: UUID, actor: str) -> bool:
    """Let it take runs again; one that is not quarantined stays as it is. False: there is no such machine."""
    async with db.transaction() as connection:
        there = await connection.fetchval(
            "select state::text from machines where organisation_id = $1 and id = $2 and deleted_at is null for update",
            organisation_id,
            machine_id,
        )
        if there != "quarantined":
            return there is not None
        await connection.execute(
            """
            update machines set quarantined_at = null, quarantine_reason = null, updated_at = now(),
              state = case when credential_hash is null and endpoint is null then 'pending'::machine_state
                           else 'ready' end
            where id = $1
            """,
            machine_id,
        )
        await audit.record(connection, organisation_id, actor, "machine.release", f"machine:{machine_id}")
    return True


async def events(
    db: Database, organisation_id: str, machine_id: UUID, before: UUID | None, limit: int
) -> list[MachineEvent]:
    """What happened to a machine, newest first."""
    rows = await db.fetch(
        """
        select id, kind, at, detail from machine_events
        where organisation_id = $1 and machine_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4
        """,
        organisation_id,
        machine_id,
        before,
        limit,
    )
    return [MachineEvent(str(row["id"]), row["kind"], row["at"], row["detail"]) for row in rows]
