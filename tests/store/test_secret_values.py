"""Organisations' secrets on a real database: they open for their organisation, and move to a new master key."""

from __future__ import annotations

import pytest
import structlog

from orchestrator.live.secret_values import SecretValues
from orchestrator.store.db import Database
from orchestrator.store.ids import new_id
from orchestrator.store.organisations import MOST_SECRETS
from orchestrator.vault import Sealed, Vault

pytestmark = pytest.mark.anyio


@pytest.fixture
async def organisation(db: Database) -> str:
    """An organisation's id."""
    made = new_id()
    await db.execute("insert into organisations (id, name, slug) values ($1, 'A', 'a')", made)
    return made


def _values(db: Database, secret: bytes) -> SecretValues:
    return SecretValues(db, Vault(secret, "vault"))


async def test_a_value_comes_back_to_its_organisation_only(db: Database, organisation: str) -> None:
    """Set, read, set anew; under another name or for another organisation there is none."""
    values = _values(db, b"master")
    await values.set(organisation, "TOKEN", "first", "user:x")
    await values.set(organisation, "TOKEN", "second ☃", "user:x")
    assert await values.value(organisation, "TOKEN") == "second ☃"
    assert await values.value(organisation, "OTHER") is None
    assert await values.value(new_id(), "TOKEN") is None


async def test_a_value_moved_to_another_row_does_not_open(db: Database, organisation: str) -> None:
    """Who can write the database cannot make one organisation read another's secret."""
    values, other = _values(db, b"master"), new_id()
    await values.set(organisation, "TOKEN", "value", "user:x")
    await db.execute("insert into organisations (id, name, slug) values ($1, 'B', 'b')", other)
    await db.execute(
        "insert into secrets (organisation_id, name, sealed, seal_key, created_by) "
        "select $2, name, sealed, seal_key, created_by from secrets where organisation_id = $1",
        organisation,
        other,
    )
    with pytest.raises(Sealed):
        await values.value(other, "TOKEN")


async def test_a_new_master_key_takes_over(db: Database, organisation: str) -> None:
    """Under `new,old` everything is sealed again; then `new` alone opens all, and `old` nothing."""
    old, both, new = _values(db, b"old"), _values(db, b"new,old"), _values(db, b"new")
    names = [f"T{number}" for number in range(150)]
    for name in names:
        await old.set(organisation, name, name.lower(), "user:x")
    with pytest.raises(Sealed):
        await new.value(organisation, "T1")
    turns = 1
    while await both.reseal():
        turns += 1
    assert turns == 2
    assert [await new.value(organisation, name) for name in names] == [name.lower() for name in names]
    with pytest.raises(Sealed):
        await old.value(organisation, "T1")


async def test_what_cannot_be_opened_is_said_and_left_alone(db: Database, organisation: str) -> None:
    """A key that is gone: one warning with the number, no value in it, and no endless turns."""
    await _values(db, b"lost").set(organisation, "TOKEN", "a value", "user:x")
    with structlog.testing.capture_logs() as lines:
        assert not await _values(db, b"new").reseal()
    assert [(line["event"], line["count"]) for line in lines] == [("secrets cannot be opened", 1)]
    assert await _values(db, b"lost").value(organisation, "TOKEN") == "a value"


async def test_an_organisation_keeps_a_bounded_number(db: Database, organisation: str) -> None:
    """One more than the limit is refused; setting one of those anew is not."""
    values = _values(db, b"master")
    await db.execute(
        "insert into secrets (organisation_id, name, sealed, seal_key, created_by) "
        "select $1, 'S' || n, '', '', '' from generate_series(1, $2) n",
        organisation,
        MOST_SECRETS,
    )
    assert await values.set(organisation, "MORE", "x", "user:x") is None
    assert await values.set(organisation, "S1", "x", "user:x") is not None
