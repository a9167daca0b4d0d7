"""Logs in PostgreSQL: bounded, in order, and nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from orchestrator.store import ids, run_logs
from orchestrator.store.db import Database
from orchestrator.wire import LogPart, MachineLogPart
from tests.store.fleet_rows import make_team, queue_run

pytestmark = pytest.mark.anyio


def part(run: str, attempt: str, *lines: str) -> LogPart:
    """Some lines."""
    return LogPart(ids.new_id(), run, attempt, datetime.now(UTC), [*lines])


async def test_of_an_attempt_so_much_is_kept_and_no_more(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one statement and over several; another attempt of the run has room of its own."""
    monkeypatch.setattr(run_logs, "MOST_BYTES", 10)
    team = await make_team(db)
    run, first, second = await queue_run(db, team), ids.new_id(), ids.new_id()
    owner = team.organisation_id
    await run_logs.append(
        db, [owner] * 3, [part(run, first, "12345"), part(run, first, "67", "8"), part(run, first, "too")]
    )
    await run_logs.append(db, [owner] * 2, [part(run, first, "90+"), part(run, second, "ä", "0")])
    kept = await run_logs.page(db, owner, UUID(run), attempt=None, after=None, limit=10)
    assert [one.lines for one in kept] == [["12345"], ["67", "8"], ["ä", "0"]]
    after = await run_logs.page(db, owner, UUID(run), attempt=None, after=UUID(kept[1].id), limit=10)
    assert [one.lines for one in after] == [["ä", "0"]]


async def test_lines_for_a_run_that_is_gone_or_anothers_are_dropped(db: Database) -> None:
    """They neither fail the rest nor land with another organisation."""
    team, other = await make_team(db), await make_team(db)
    run, gone = await queue_run(db, team), ids.new_id()
    parts = [part(gone, ids.new_id(), "x"), part(run, ids.new_id(), "mine"), part(run, ids.new_id(), "not mine")]
    await run_logs.append(db, [team.organisation_id, team.organisation_id, other.organisation_id], parts)
    kept = await run_logs.page(db, team.organisation_id, UUID(run), attempt=None, after=None, limit=10)
    assert [one.lines for one in kept] == [["mine"]]
    assert await run_logs.page(db, other.organisation_id, UUID(run), attempt=None, after=None, limit=10) == []


async def test_of_a_machine_the_newest_parts_are_kept(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones go as newer come; other machines' stay."""
    monkeypatch.setattr(run_logs, "MOST_OWN_PARTS", 3)
    team, other = await make_team(db), await make_team(db)
    one, two = team.machine_ids
    for number in range(5):
        told = MachineLogPart(ids.new_id(), datetime.now(UTC), [f"{number}"])
        await run_logs.append_own(db, [(team.organisation_id, one, told)])
        if number == 0:
            early = MachineLogPart(ids.new_id(), datetime.now(UTC), ["early"])
            await run_logs.append_own(db, [(team.organisation_id, two, early), (other.organisation_id, one, told)])
    kept = await run_logs.own_page(db, team.organisation_id, UUID(one), None, 10)
    assert [part.lines for part in kept] == [["4"], ["3"], ["2"]]
    assert len(await run_logs.own_page(db, team.organisation_id, UUID(two), None, 10)) == 1
    assert await run_logs.own_page(db, other.organisation_id, UUID(one), None, 10) == []
