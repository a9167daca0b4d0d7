"""One fleet of real processes for all end-to-end tests: an orchestrator, its database, two agents with executors.

Tests share it, so each leaves both machines ready and idle. They speak to it by the public API only; a second
organisation is the one thing that has no call yet, and is put into the database.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from orchestrator.credentials import hint_of, new_api_key
from orchestrator.store import keys, users
from orchestrator.store.db import Database
from orchestrator.store.ids import digest
from tests.fleet_process import FleetProcess, fleet_home
from tests.system import Team

HERE = "tests/end_to_end"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that share the fleet run in one worker: it is started once."""
    for item in items:
        if HERE in str(item.path) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("fleet"))


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest) -> Iterator[FleetProcess]:
    """Machines alpha (pool=fast) and beta (pool=slow)."""
    with fleet_home("end") as home:
        fleet = FleetProcess(home)
        failed = request.session.testsfailed
        try:
            fleet.start()
            fleet.add_agent("alpha", labels={"pool": "fast"})
            fleet.add_agent("beta", labels={"pool": "slow"})
            fleet.until_useful("alpha", "beta")
            yield fleet
        finally:
            if request.session.testsfailed > failed:
                print(fleet.logs())
            fleet.stop()


@pytest.fixture
async def team(fleet: FleetProcess) -> AsyncIterator[Team]:
    """The first organisation's caller."""
    async with Team(fleet.url, fleet.api_key) as team:
        yield team


@pytest.fixture
async def stranger(fleet: FleetProcess) -> AsyncIterator[Team]:
    """The owner of another organisation."""
    key, name = new_api_key(), f"other-{secrets.token_hex(6)}"
    db = await Database.open(fleet.dsn, max_size=1)
    try:
        async with db.transaction() as connection:
            organisation_id, user_id = await users.create_owner(connection, f"{name}@example.org", "-", name)
            new = keys.NewKey(organisation_id, "a key", digest(key), hint_of(key), "owner", user_id)
            await keys.create(connection, new, "system")
    finally:
        await db.close()
    async with Team(fleet.url, key) as stranger:
        yield stranger
