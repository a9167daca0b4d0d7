"""Versions of machines on a real database: one for each different machine that it was, and no other."""

from __future__ import annotations

from uuid import UUID

import pytest

from drivers.wire import Inventory, ModelFile
from orchestrator.store import machine_versions, machines
from orchestrator.store.db import Database
from orchestrator.store.ids import new_id
from orchestrator.wire import MachineCreate, MachinePolicy, MachineUpdate, MachineVersion

pytestmark = pytest.mark.anyio
WHOLE = Inventory(node_classes=["A", "B"], models=[ModelFile("loras", "x.safetensors", 7, "0" * 64)])


class Case:
    """A machine, and what is done to it."""

    def __init__(self, db: Database, organisation: str, machine: str) -> None:
        self.db, self.organisation, self.machine = db, organisation, machine

    async def has(self, inventory: Inventory, slots: int = 1, agent: str = "1") -> None:
        await machines.save_inventory(self.db, self.machine, slots=slots, inventory=inventory, agent_version=agent)

    async def change(self, change: MachineUpdate) -> None:
        assert await machines.update(self.db, self.organisation, UUID(self.machine), change, "user:x")

    async def versions(self, limit: int = 1000) -> list[MachineVersion]:
        return await machine_versions.page(self.db, self.organisation, UUID(self.machine), None, limit)

    async def numbers(self) -> list[int]:
        return [version.number for version in await self.versions()]


@pytest.fixture
async def case(db: Database) -> Case:
    """A machine of a new organisation."""
    organisation = new_id()
    await db.execute("insert into organisations (id, name, slug) values ($1, 'A', 'a')", organisation)
    made = await machines.create(db, organisation, MachineCreate(name="m"), "user:x")
    return Case(db, organisation, made.id)


async def test_an_inventory_counts_once_it_is_whole(case: Case) -> None:
    """Neither before the executor answered nor while models are hashed; a server's own models have no hash ever."""
    await case.has(Inventory(ram=5))
    await case.has(Inventory(node_classes=["A"], models=[ModelFile("loras", "x", 7)]))
    assert await case.numbers() == []
    await case.has(Inventory(node_classes=["A"], models=[ModelFile("loras", "x", 0)]))
    assert await case.numbers() == [1]


async def test_a_machine_that_becomes_what_it_was_has_no_new_version(case: Case) -> None:
    """Restarted, drained, with other slots or another name: it is the same."""
    await case.has(WHOLE)
    await case.has(Inventory())
    await case.has(WHOLE, slots=0)
    await case.change(MachineUpdate(name="other"))
    await machines.set_draining(case.db, case.organisation, UUID(case.machine), on=True, actor="user:x")
    assert await case.numbers() == [1]


async def test_every_change_that_counts_makes_a_version_that_stays(case: Case) -> None:
    """Inventory, agent, labels, policy; each shows what it was, and going back is a version too."""
    await case.has(WHOLE)
    await case.has(Inventory(node_classes=["A"]))
    await case.has(Inventory(node_classes=["A"]), agent="2")
    await case.change(MachineUpdate(labels={"gpu": "x"}))
    await case.change(MachineUpdate(policy=MachinePolicy(max_run_s=5)))
    await case.change(MachineUpdate(policy=MachinePolicy()))
    versions = (await case.versions())[::-1]
    assert [(v.number, v.node_classes, v.models, v.agent_version, v.labels, v.policy) for v in versions] == [
        (1, 2, 1, "1", {}, {}),
        (2, 1, 0, "1", {}, {}),
        (3, 1, 0, "2", {}, {}),
        (4, 1, 0, "2", {"gpu": "x"}, {}),
        (5, 1, 0, "2", {"gpu": "x"}, {"max_run_s": 5}),
        (6, 1, 0, "2", {"gpu": "x"}, {}),
    ]
    assert versions[5].hash == versions[3].hash
    assert len({version.hash for version in versions}) == 5
    first = await machine_versions.get(case.db, case.organisation, UUID(case.machine), 1)
    assert first is not None
    assert first.inventory is not None
    assert first.inventory["node_classes"] == ["A", "B"]
    assert await machine_versions.get(case.db, new_id(), UUID(case.machine), 1) is None


async def test_the_newest_hundred_are_kept(case: Case) -> None:
    """And told in pages."""
    await case.has(WHOLE)
    for number in range(110):
        await case.change(MachineUpdate(labels={"n": str(number)}))
    assert await case.numbers() == list(range(111, 11, -1))
    newest = await case.versions(2)
    before = UUID(newest[1].id)
    older = await machine_versions.page(case.db, case.organisation, UUID(case.machine), before, 1)
    assert [version.number for version in older] == [109]
