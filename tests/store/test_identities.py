"""People whom an OpenID provider names, in a real database: who comes in where only members may, or nobody joins."""

from __future__ import annotations

import uuid

import pytest

from orchestrator.runs.sign_on import Person, Refused
from orchestrator.store import identities
from orchestrator.store.db import Database
from orchestrator.store.users import Account

pytestmark = pytest.mark.anyio
ISSUER = "https://id.example.org"


def _person(name: str, subject: str | None = None) -> Person:
    return Person(ISSUER, subject or name, f"{name}@example.org", name.title())


async def _member(db: Database, name: str) -> str:
    organisation, user = uuid.uuid4(), uuid.uuid4()
    await db.execute("insert into organisations (id, name, slug) values ($1, $2, $2)", organisation, f"of-{name}")
    await db.execute("insert into users (id, email, password_hash) values ($1, $2, 'x')", user, f"{name}@example.org")
    await db.execute(
        "insert into memberships (organisation_id, user_id, role) values ($1, $2, 'viewer')", organisation, user
    )
    return str(user)


async def test_members_come_in_and_strangers_do_not(db: Database) -> None:
    """Where people do not join by their domain, a stranger leaves no trace."""
    anna = await _member(db, "anna")
    found = await identities.enter(db, _person("anna"), None, "viewer")
    assert isinstance(found, Account)
    assert (found.user_id, found.role) == (anna, "viewer")
    assert await identities.enter(db, _person("eve"), None, "viewer") == Refused("not_a_member")
    assert await db.fetchval("select count(*) from users") == 1
    assert await db.fetchval("select array_agg(subject) from identities") == ["anna"]


async def test_an_organisation_that_is_not_there_lets_nobody_join(db: Database) -> None:
    """A slug of the settings that is wrong makes no member of another organisation."""
    await _member(db, "anna")
    assert await identities.enter(db, _person("eve"), "gone", "owner") == Refused("not_a_member")


async def test_a_subject_keeps_its_user_when_addresses_move(db: Database) -> None:
    """Anna's old address goes to somebody else at the provider: they do not become Anna."""
    anna = await _member(db, "anna")
    await identities.enter(db, _person("anna", "1"), None, "viewer")
    assert await identities.enter(db, _person("anna", "2"), None, "viewer") == Refused("other_subject")
    moved = await identities.enter(db, Person(ISSUER, "1", "anna.b@example.org", ""), None, "viewer")
    assert isinstance(moved, Account)
    assert moved.user_id == anna
    other = await identities.enter(db, Person("https://other.example.org", "2", "anna@example.org", ""), None, "viewer")
    assert isinstance(other, Account), "another provider has subjects of its own"
