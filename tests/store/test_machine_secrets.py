"""Machines' secrets on a real database: they open for their machine only, and move to a new master key."""

from __future__ import annotations

from uuid import UUID

import pytest
import structlog

from drivers.wire import MachineId
from orchestrator.live.machine_secrets import MachineSecrets
from orchestrator.live.secret_values import SecretValues
from orchestrator.store import machine_secrets as store
from orchestrator.store import organisations
from orchestrator.store.db import Database
from orchestrator.store.ids import new_id
from orchestrator.vault import Vault

pytestmark = pytest.mark.anyio


async def _machine(db: Database, organisation: str | None = None) -> tuple[str, MachineId]:
    """A machine's organisation and id."""
    machine = MachineId(new_id())
    if organisation is None:
        organisation = new_id()
        await db.execute("insert into organisations (id, name, slug) values ($1, 'A', $2)", organisation, organisation)
    new = "insert into machines (id, organisation_id, name, kind) values ($1, $2, $3, 'classic')"
    await db.execute(new, machine, organisation, machine)
    return organisation, machine


def _secrets(db: Database, master: bytes) -> MachineSecrets:
    return MachineSecrets(db, Vault(master, "vault"))


async def test_values_come_back_for_their_machine_only(db: Database) -> None:
    """Another machine of the team, the machine asked for by another team, and one that was deleted get nothing."""
    secrets = _secrets(db, b"master")
    organisation, machine = await _machine(db)
    _, neighbour = await _machine(db, organisation)
    stranger, theirs = await _machine(db)
    await secrets.set(organisation, machine, "TOKEN", "a value ☃", "user:x")
    assert await secrets.of(organisation, machine) == {"TOKEN": "a value ☃"}
    assert await secrets.of(organisation, neighbour) == {}
    assert await secrets.of(stranger, machine) == {}
    assert await secrets.of(stranger, theirs) == {}
    assert await secrets.set(stranger, machine, "TOKEN", "not theirs", "user:y") is None
    await db.execute("update machines set deleted_at = now() where id = $1", machine)
    assert await secrets.of(organisation, machine) == {}


async def test_a_row_that_was_moved_does_not_open(db: Database) -> None:
    """Who can write the database cannot make one machine read another's secret; it is left out, and said by name."""
    secrets = _secrets(db, b"master")
    organisation, machine = await _machine(db)
    _, neighbour = await _machine(db, organisation)
    await secrets.set(organisation, machine, "TOKEN", "a value", "user:x")
    await secrets.set(organisation, neighbour, "OTHER", "other value", "user:x")
    await db.execute("update machine_secrets set machine_id = $1 where machine_id = $2", neighbour, machine)
    with structlog.testing.capture_logs() as lines:
        assert await secrets.of(organisation, neighbour) == {"OTHER": "other value"}
    assert [line["names"] for line in lines] == [["TOKEN"]]


async def test_a_new_master_key_takes_over(db: Database) -> None:
    """Under `new,old` everything is sealed again, and no machine is told anew; then `new` alone opens all."""
    old, both, new = _secrets(db, b"old"), _secrets(db, b"new,old"), _secrets(db, b"new")
    organisation, machine = await _machine(db)
    values = {f"T{number}": f"value {number}" for number in range(store.MOST)}
    for name, value in values.items():
        await old.set(organisation, machine, name, value, "user:x")
    assert await new.of(organisation, machine) == {}
    _, second = await _machine(db, organisation)
    for name, value in values.items():
        await old.set(organisation, second, name, value, "user:x")
    before = await db.fetchval("select array_agg(secrets_revision order by id) from machines")
    assert [await both.reseal(), await both.reseal()] == [True, False]
    assert await new.of(organisation, machine) == await new.of(organisation, second) == values
    assert await old.of(organisation, machine) == {}
    assert await db.fetchval("select array_agg(secrets_revision order by id) from machines") == before


async def test_an_organisation_gives_its_own_to_machines_of_a_label(db: Database) -> None:
    """To those that have all the labels, to all for none, to no other team's; the machine's own goes before. Only they
    are told anew when it is set, moved or deleted.
    """
    vault = Vault(b"master", "vault")
    secrets, shared = MachineSecrets(db, vault), SecretValues(db, vault)
    organisation, fast = await _machine(db)
    _, slow = await _machine(db, organisation)
    stranger, theirs = await _machine(db)
    labels = {"pool": "fast", "room": "a"}
    await db.execute("update machines set labels = $2 where id = any($1::uuid[])", [fast, theirs], labels)

    async def given() -> list[dict[str, str]]:
        return [await secrets.of(organisation, fast), await secrets.of(organisation, slow)]

    async def told() -> list[int]:
        found = "select secrets_revision from machines where id = $1"
        return [await db.fetchval(found, machine) for machine in (fast, slow, theirs)]

    await shared.set(organisation, "KEPT", "for nobody", "user:x")
    await shared.set(organisation, "TOKEN", "of the team", "user:x", {"pool": "fast"})
    assert (await given(), await told()) == ([{"TOKEN": "of the team"}, {}], [1, 0, 0])
    await secrets.set(organisation, fast, "TOKEN", "of its own", "user:x")
    await shared.set(organisation, "TOKEN", "of the team", "user:x", {})
    assert (await given(), await told()) == ([{"TOKEN": "of its own"}, {"TOKEN": "of the team"}], [3, 1, 0])
    await shared.set(organisation, "TOKEN", "of the team", "user:x", {"pool": "slow"})
    assert (await given(), await told()) == ([{"TOKEN": "of its own"}, {}], [4, 2, 0])
    await organisations.delete_secret(db, organisation, "TOKEN", "user:x")
    assert await told() == [4, 2, 0]
    assert await secrets.of(stranger, theirs) == {}
    for number in range(organisations.MOST_GIVEN):
        assert await shared.set(organisation, f"S{number}", "12345678", "user:x", {}) is not None
    assert await shared.set(organisation, "MORE", "12345678", "user:x", {}) is None
    assert await shared.set(organisation, "MORE", "12345678", "user:x") is not None


async def test_a_fingerprint_tells_equal_values_apart_from_others(db: Database) -> None:
    """The same on each machine of a team, another for another team; sealed anew it stays that of the value."""
    old, both = _secrets(db, b"old"), _secrets(db, b"new,old")
    organisation, machine = await _machine(db)
    _, neighbour = await _machine(db, organisation)
    stranger, theirs = await _machine(db)

    async def made(secrets: MachineSecrets, whose: str, where: MachineId, value: str) -> str:
        found = await secrets.set(whose, where, "TOKEN", value, "user:x")
        assert found is not None
        return found.fingerprint

    first = await made(old, organisation, machine, "a value")
    assert await made(old, organisation, neighbour, "a value") == first
    assert await made(old, stranger, theirs, "a value") != first
    assert await made(old, organisation, neighbour, "other value") != first
    await both.reseal()
    (kept,) = await store.listed(db, organisation, UUID(machine))
    assert kept.fingerprint == await made(both, organisation, neighbour, "a value") != first
