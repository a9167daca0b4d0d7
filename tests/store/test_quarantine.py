"""Quarantine in PostgreSQL, where several may ask for it at once; and the events that machines leave behind."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from drivers.wire import Failure, Inventory
from orchestrator.live.care import Care
from orchestrator.runs.state import Lost, Reported
from orchestrator.store import fleet, machines, quarantine
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from orchestrator.wire import MachinePolicy, MachineUpdate
from tests.store.fleet_rows import Team, make_team, place, queue_run

pytestmark = pytest.mark.anyio
CRASH = Failure("executor_crashed", "it died")


async def connected_team(db: Database) -> Team:
    """A team whose two machines beat."""
    team = await make_team(db)
    await fleet.beat(db, dict.fromkeys(team.machine_ids, 0), 60)
    return team


async def states(db: Database, team: Team) -> list[str]:
    """The machines' states, in their order."""
    rows = await db.fetch(
        "select state::text from machines where organisation_id = $1 order by id", team.organisation_id
    )
    return [row["state"] for row in rows]


async def crash(db: Database, care: Care, team: Team, times: int) -> None:
    """So many runs fail one after the other on the first machine."""
    ledger = Ledger(db, lambda changes, _to_tell: care.told(changes))
    for _ in range(times):
        run = await queue_run(db, team)
        attempt, token = await place(ledger, team, run)
        await ledger.apply([Change(run, Reported(attempt, 1, "started"), token=token)])
        await ledger.apply([Change(run, Reported(attempt, 2, "failed", CRASH), token=token)])
        await care.tick()


async def test_a_machine_that_fails_run_after_run_is_taken_out(db: Database) -> None:
    """At the third run in a row, not before; the reason says so, and released it begins anew."""
    team, looks = await connected_team(db), []
    care = Care(db, 3, lambda: looks.append(1))
    await crash(db, care, team, 2)
    assert (await states(db, team), looks) == (["ready", "ready"], [])
    await crash(db, care, team, 1)
    assert (await states(db, team), looks) == (["quarantined", "ready"], [1])
    shown = await machines.get(db, team.organisation_id, UUID(team.machine_ids[0]))
    assert shown is not None
    assert (
        shown.quarantine_reason == "3 runs in a row failed by the machine's own fault, the last one as executor_crashed"
    )
    assert shown.quarantined_at is not None
    await db.execute("update machines set credential_hash = $2 where id = $1", team.machine_ids[0], b"x")
    assert await quarantine.release(db, team.organisation_id, UUID(team.machine_ids[0]), "user:x")
    assert await states(db, team) == ["ready", "ready"]
    await crash(db, care, team, 2)
    assert await states(db, team) == ["ready", "ready"]


async def test_a_policy_says_otherwise(db: Database) -> None:
    """0 is never; a smaller number is sooner."""
    team = await connected_team(db)
    machine = UUID(team.machine_ids[0])
    care = Care(db, 2, lambda: None)
    for policy, times, expected in ((0, 3, "ready"), (1, 1, "quarantined")):
        update = MachineUpdate(policy=MachinePolicy(quarantine_after=policy))
        assert await machines.update(db, team.organisation_id, machine, update, "user:x")
        await crash(db, care, team, times)
        assert (await states(db, team))[0] == expected


async def test_the_last_machine_stays(db: Database) -> None:
    """Both are suspected at once, by two replicas: one is taken out, and the one that is left never is."""
    team = await connected_team(db)
    suspects = [{machine: (9, "bad")} for machine in team.machine_ids]
    taken = await asyncio.gather(*(quarantine.automatic(db, suspect, 3) for suspect in suspects * 3))
    assert sum(map(len, taken)) == 1
    assert sorted(await states(db, team)) == ["quarantined", "ready"]


async def test_a_lost_machine_counts_too(db: Database) -> None:
    """Losses are told by the watcher, with no line to the machine at all."""
    team = await connected_team(db)
    care = Care(db, 1, lambda: None)
    ledger = Ledger(db, lambda changes, _to_tell: care.told(changes))
    run = await queue_run(db, team)
    attempt, _ = await place(ledger, team, run)
    await ledger.apply([Change(run, Lost(attempt, Failure("machine_lost", "silence")))])
    await care.tick()
    assert (await states(db, team))[0] == "quarantined"


async def test_a_machine_leaves_its_events(db: Database) -> None:
    """Connections, orders, changes and inventory, newest first and in bounds; heartbeats leave none."""
    team, other = await make_team(db), await make_team(db)
    machine = UUID(team.machine_ids[0])
    await fleet.beat(db, {team.machine_ids[0]: 0}, 60)
    await fleet.beat(db, {team.machine_ids[0]: 1}, 60)
    await machines.save_inventory(db, team.machine_ids[0], slots=2, inventory=Inventory(node_classes=["A", "B"]))
    await machines.update(db, team.organisation_id, machine, MachineUpdate(labels={"a": "b"}), "user:x")
    await machines.set_draining(db, team.organisation_id, machine, on=True, actor="user:x")
    await quarantine.by_hand(db, team.organisation_id, machine, "smells", "user:x")
    assert not await machines.set_draining(db, team.organisation_id, machine, on=False, actor="user:x")
    await quarantine.release(db, team.organisation_id, machine, "user:x")
    await fleet.beat(db, {team.machine_ids[0]: 0}, 0, connected=False)
    seen = await quarantine.events(db, team.organisation_id, machine, None, 100)
    kinds = "registered connected inventory_changed changed drained quarantined released disconnected"
    assert sorted(event.kind for event in seen) == sorted(kinds.split())
    by_kind = {event.kind: event.detail for event in seen}
    assert by_kind["inventory_changed"] == {"slots": 2, "node_classes": 2, "models": 0}
    assert by_kind["quarantined"] == {"reason": "smells"}
    assert by_kind["changed"]["labels"] == {"a": "b"}
    assert await quarantine.events(db, other.organisation_id, machine, None, 100) == []
    for _ in range(1100):
        await db.execute("update machine_beats set connected = not connected where machine_id = $1", machine)
    assert await db.fetchval("select count(*) from machine_events where machine_id = $1", machine) <= 1001
