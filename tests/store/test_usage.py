"""Usage and quotas: sums that agree with what happened, rolled up or not, and bounds that hold under a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from drivers.wire import RunId
from orchestrator.errors import Forbidden, TooMany
from orchestrator.live.queue import Queue
from orchestrator.runs.state import Cancel, Reported
from orchestrator.store import files, ids, runs, usage
from orchestrator.store.db import Database
from orchestrator.store.idempotency import Once, Repeated
from orchestrator.store.ledger import Change, Ledger
from orchestrator.wire import QuotasUpdate
from tests.store.fleet_rows import Team, make_team, place, queue_run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    """A started ledger that tells nobody."""
    it = Ledger(db, lambda _changes, _to_tell: None)
    it.start()
    yield it
    await it.stop()


@pytest.fixture
async def queue(db: Database) -> AsyncIterator[Queue]:
    """A started queue that tells nobody."""
    it = Queue(db, lambda _new: None)
    it.start()
    yield it
    await it.stop()


def new_run(team: Team) -> runs.NewRun:
    """A run of the team."""
    return runs.NewRun(
        id=RunId(ids.new_id()),
        organisation_id=team.organisation_id,
        workflow_id=team.workflow_id,
        version_id=team.version_id,
        deployment_id=None,
    )


def new_file(team: Team, size: int, sha256: bytes = b"1" * 32) -> files.NewFile:
    """A stored file of the team."""
    return files.NewFile(team.organisation_id, "input", "f", "image/png", size, sha256, stored=True)


async def test_usage_counts_each_run_once_by_day_and_key(db: Database, ledger: Ledger) -> None:
    """A run that succeeded at its second attempt and one that was cancelled unclaimed; before and after rolling up."""
    team, other = await make_team(db), await make_team(db)
    key = ids.new_id()
    run = await queue_run(db, team, api_key_id=key)
    attempt, token = await place(ledger, team, run)
    for seq, status in enumerate(["started", "failed"], 1):
        failure = None
        await ledger.change(Change(run, Reported(attempt, seq, status, failure), token=token))
    await db.execute("update runs set not_before = now() where id = $1", run)
    attempt, token = await place(ledger, team, run)
    await ledger.change(Change(run, Reported(attempt, 1, "started"), token=token))
    await db.execute("update attempts set claimed_at = now() - interval '3 seconds' where id = $1", attempt)
    await ledger.change(Change(run, Reported(attempt, 2, "success"), token=token))
    await ledger.change(Change(await queue_run(db, team), Cancel()))
    today = datetime.now(UTC).date()
    for _ in range(2):
        (day,) = await usage.usage(db, team.organisation_id, today, today, "day")
        assert (day.name, day.runs, day.succeeded, day.attempts) == (str(today), 2, 1, 2)
        assert 3 <= day.machine_s < 60
        by_key = await usage.usage(db, team.organisation_id, today, today, "key")
        assert [(one.name, one.runs) for one in by_key] == [(None, 1), (key, 1)]
        (mine,) = await usage.usage(db, team.organisation_id, today, today, "day", api_key_id=UUID(key))
        assert (mine.runs, mine.succeeded) == (1, 1)
        assert await usage.usage(db, other.organisation_id, today, today, "day") == []
        await usage.roll_up_usage(db, 1000)
    assert await db.fetchval("select count(*) from usage_deltas") == 0


async def test_storage_follows_every_file(db: Database) -> None:
    """Stored, granted and later stored, and deleted, with rolling up at any time."""
    team = await make_team(db)
    stored = await files.add(db, new_file(team, 100))
    pending = await files.add(db, files.NewFile(team.organisation_id, "input", "g", "image/png", 7, b"2" * 32, False))
    assert (await usage.storage(db, team.organisation_id)).bytes == 100
    await usage.roll_up_storage(db, 1000)
    await files.mark_stored(db, [pending.id])
    assert (await usage.storage(db, team.organisation_id)) == usage.Storage(107, 2)
    await db.execute("delete from files where id = $1", stored.id)
    await usage.roll_up_storage(db, 1000)
    assert (await usage.storage(db, team.organisation_id)) == usage.Storage(7, 1)
    assert await db.fetchval("select count(*) from storage_deltas") == 0


async def test_storage_of_each_day_is_that_of_its_end(db: Database) -> None:
    """A day without a change has what the one before it had, today what there is now; days to come are not told."""
    team, other = await make_team(db), await make_team(db)
    today = datetime.now(UTC).date()
    for ago, size in ((5, 10), (3, 30)):
        await db.execute(
            "insert into storage_days (organisation_id, day, bytes, files) values ($1, $2, $3, 1)",
            team.organisation_id,
            today - timedelta(days=ago),
            size,
        )
    await files.add(db, new_file(team, 7))
    first, last = today - timedelta(days=6), today + timedelta(days=9)
    told = await usage.storage_days(db, team.organisation_id, first, last)
    assert [(day.bytes, day.files) for day in told] == [(0, 0), (10, 1), (10, 1), *[(30, 1)] * 3, (37, 2)]
    assert [told[0].day, told[-1].day] == [first.isoformat(), today.isoformat()]
    await usage.roll_up_storage(db, 1000)
    assert await usage.storage_days(db, team.organisation_id, first, last) == told
    assert (await usage.storage_days(db, team.organisation_id, first, today - timedelta(days=1))) == told[:-1]
    assert {day.bytes for day in await usage.storage_days(db, other.organisation_id, first, last)} == {0}
    assert await usage.storage_days(db, team.organisation_id, last, last) == []


async def test_the_queue_never_holds_more_than_its_quota(db: Database, queue: Queue) -> None:
    """Fifty at once with room for ten: exactly ten get in, the rest are told the quota; another team is not touched."""
    team, other = await make_team(db), await make_team(db)
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_queued_runs=10), "system")
    answers = await asyncio.gather(*(queue.add(new_run(team)) for _ in range(50)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, TooMany)]
    assert len(refused) == 40
    assert (refused[0].code, refused[0].errors[0].path) == ("quota_exceeded", "max_queued_runs")
    assert await db.fetchval("select count(*) from runs where organisation_id = $1", team.organisation_id) == 10
    assert await queue.add(new_run(other))


async def test_a_batch_beyond_the_quota_leaves_nothing(db: Database, queue: Queue) -> None:
    """Four runs with room for three: no run and no batch; three fit."""
    team = await make_team(db)
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_queued_runs=3), "system")
    with pytest.raises(TooMany):
        await queue.add_batch(ids.new_id(), [new_run(team) for _ in range(4)])
    assert await db.fetchval("select count(*) from batches") == 0
    await queue.add_batch(ids.new_id(), [new_run(team) for _ in range(3)])
    assert await db.fetchval("select count(*) from runs where organisation_id = $1", team.organisation_id) == 3


async def test_a_full_storage_starts_no_run_and_takes_no_file(db: Database, queue: Queue) -> None:
    """What is over the quota is refused with its name; lifting it lets runs in again."""
    team = await make_team(db)
    await files.add(db, new_file(team, 100))
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_storage_bytes=99), "system")
    with pytest.raises(Forbidden, match="max_storage_bytes"):
        await queue.add(new_run(team))
    with pytest.raises(Forbidden, match="max_storage_bytes"):
        await queue.quotas.check_storage(team.organisation_id, 1)
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_storage_bytes=200), "system")
    queue.quotas.forget(team.organisation_id)
    assert await queue.add(new_run(team))


async def test_room_for_running_runs_is_what_is_left_of_the_quota(db: Database, queue: Queue, ledger: Ledger) -> None:
    """Runs on machines count until they end; a team without a bound is not named."""
    team, other = await make_team(db), await make_team(db)
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_running_runs=2), "system")
    first, second = await queue_run(db, team), await queue_run(db, team)
    await place(ledger, team, first)
    both = {team.organisation_id, other.organisation_id}
    assert await queue.quotas.running_room(both) == {team.organisation_id: 1}
    await place(ledger, team, second, machine=1)
    assert await queue.quotas.running_room(both) == {team.organisation_id: 0}
    await ledger.change(Change(first, Cancel()))
    assert await queue.quotas.running_room(both) == {team.organisation_id: 1}


async def test_a_repeated_request_is_answered_although_the_queue_is_full(db: Database, queue: Queue) -> None:
    """Its run stands already: it adds nothing, so no quota speaks against it."""
    team = await make_team(db)
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_queued_runs=1), "system")
    once = Once("user:x", "POST /api/v1/runs", b"k" * 32, b"r" * 32)
    first = replace(new_run(team), once=once)
    assert await queue.add(first) == first.id
    assert await queue.add(replace(new_run(team), once=once)) == Repeated(same=True, run_id=first.id)
    with pytest.raises(TooMany):
        await queue.add(new_run(team))
    await usage.set_quotas(db, team.organisation_id, QuotasUpdate(max_queued_runs=0), "system")
    queue.quotas.forget(team.organisation_id)
    assert await queue.add(replace(new_run(team), once=once)) == Repeated(same=True, run_id=first.id)


async def test_usage_by_metadata_agrees_with_what_ended(db: Database, ledger: Ledger) -> None:
    """By value of the names that are counted, rolled up or not, attempts and time too; nothing for runs without."""
    team, other = await make_team(db), await make_team(db)

    async def ended(owner: Team, *, success: bool, **metadata: str) -> None:
        run = await queue_run(db, owner, metadata=metadata)
        if success:
            attempt, token = await place(ledger, owner, run)
            await ledger.change(Change(run, Reported(attempt, 1, "started"), token=token))
            await db.execute("update attempts set claimed_at = now() - interval '3 seconds' where id = $1", attempt)
            await ledger.change(Change(run, Reported(attempt, 2, "success"), token=token))
        else:
            await ledger.change(Change(run, Cancel()))

    await ended(team, success=True, team="red", job="1")
    await ended(team, success=False, team="red", job="2")
    await ended(team, success=True, team="blue")
    await ended(team, success=True)
    await ended(other, success=True, team="red")
    await queue_run(db, team, metadata={"team": "red"})
    today = datetime.now(UTC).date()
    for _ in range(2):
        blue, red = await usage.by_metadata(db, team.organisation_id, today, today, "team")
        assert (blue.name, blue.runs, blue.succeeded, blue.attempts) == ("blue", 1, 1, 1)
        assert (red.name, red.runs, red.succeeded, red.attempts) == ("red", 2, 1, 1)
        assert 3 <= red.machine_s < 60
        assert await usage.roll_up_metadata(db, ["team", "project"], 1000) in (0, 4)
    assert await db.fetchval("select count(*) from usage_metadata_deltas") == 0
    assert await db.fetchval("select array_agg(distinct name) from usage_metadata_days") == ["team"]
    yesterday = today - timedelta(days=1)
    assert await usage.by_metadata(db, team.organisation_id, yesterday, yesterday, "team") == []
