"""The ledger: what is accepted is written whole and once; what is refused changes nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from drivers.wire import AttemptId, Failure, LeaseToken, Output, RunId, Timings
from orchestrator.runs.state import Cancel, Lost, Refusal, Reported, Step
from orchestrator.store import files, fleet, runs
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Changed, Ledger
from tests.store.fleet_rows import Team, make_team, place, queue_run

pytestmark = pytest.mark.anyio


class Listening:
    """A ledger and what it told."""

    def __init__(self, db: Database) -> None:
        self.told: list[Changed] = []
        self.ledger = Ledger(db, lambda changes, _to_tell: self.told.extend(changes))


@pytest.fixture
async def listening(db: Database) -> AsyncIterator[Listening]:
    """A started ledger."""
    it = Listening(db)
    it.ledger.start()
    yield it
    await it.ledger.stop()


def report(run: RunId, attempt: AttemptId, token: LeaseToken, seq: int, status: str, **more: object) -> Change:
    """A machine's report."""
    failure = more.pop("failure", None)
    return Change(run, Reported(attempt, seq, status, failure), token=token, **more)


async def status_of(db: Database, run: RunId) -> str:
    """The run's status in the table."""
    return str(await db.fetchval("select status from runs where id = $1", run))


async def test_a_run_goes_the_whole_way(db: Database, listening: Listening) -> None:
    """Placed, claimed, run, uploaded: the row, its attempt, its history, outputs and counters agree."""
    team = await make_team(db)
    run = await queue_run(db, team)
    attempt, token = await place(listening.ledger, team, run)
    for seq, status in enumerate(["started", "running", "uploading"], 1):
        assert isinstance(await listening.ledger.change(report(run, attempt, token, seq, status)), Step)
    outputs = [Output("9", "text", data="hello"), Output("9", "text", data=["a"])]
    done = report(run, attempt, token, 4, "success", outputs=outputs, timings=Timings(execute_ms=7))
    assert isinstance(await listening.ledger.change(done), Step)

    stored = await runs.get(db, team.organisation_id, run)
    assert stored is not None
    assert (stored.status, stored.attempts, stored.revision) == ("success", 1, 6)
    assert None not in (stored.queued_at, stored.started_at, stored.running_at, stored.uploading_at, stored.ended_at)
    history = await runs.events_after(db, team.organisation_id, run, 0)
    assert [(event.revision, event.status) for event in history] == list(
        enumerate(["not-started", "queued", "started", "running", "uploading", "success"], 1)
    )
    (tried,) = await runs.attempts_of(db, team.organisation_id, run)
    assert (tried.state, tried.outcome, tried.timings) == ("ended", "success", {"execute_ms": 7})
    assert [output.data for output in await runs.outputs_of(db, team.organisation_id, run)] == ["hello", ["a"]]
    await fleet.roll_up_counts(db, 1000)
    counts = {row["status"]: row["n"] for row in await db.fetch("select status, n from run_counts where n <> 0")}
    assert counts == {"success": 1}
    assert [changed.state.status for changed in listening.told][-1] == "success"


async def test_several_events_of_a_run_in_one_batch(db: Database, listening: Listening) -> None:
    """A batch with the whole life of a run ends in one row change and a complete history."""
    team = await make_team(db)
    run = await queue_run(db, team)
    attempt, token = await place(listening.ledger, team, run)
    steps = ["started", "running", "uploading", "success"]
    answers = await listening.ledger.apply([report(run, attempt, token, s, x) for s, x in enumerate(steps, 1)])
    assert all(isinstance(answer, Step) for answer in answers)
    assert await status_of(db, run) == "success"
    (tried,) = await runs.attempts_of(db, team.organisation_id, run)
    assert tried.state == "ended"
    assert tried.claimed_at is not None


async def test_a_run_that_was_never_claimed_was_never_started(db: Database, listening: Listening) -> None:
    """Cancelled while it waits or before its claim, a run has no started_at; claimed in the same batch, it has one."""
    team = await make_team(db)
    waiting, placed, claimed = [await queue_run(db, team) for _ in range(3)]
    await place(listening.ledger, team, placed)
    attempt, token = await place(listening.ledger, team, claimed)
    batch = [Change(waiting, Cancel()), Change(placed, Cancel()), report(claimed, attempt, token, 1, "started")]
    assert all(isinstance(step, Step) for step in await listening.ledger.apply([*batch, Change(claimed, Cancel())]))
    for run, started in ((waiting, False), (placed, False), (claimed, True)):
        stored = await runs.get(db, team.organisation_id, run)
        assert stored is not None
        assert stored.status == "cancelled"
        assert (stored.started_at is not None) == started


async def test_a_wrong_token_changes_nothing(db: Database, listening: Listening) -> None:
    """A report with another token, another attempt or for another organisation's run is refused and says so."""
    team, other = await make_team(db), await make_team(db)
    run = await queue_run(db, team)
    attempt, token = await place(listening.ledger, team, run)
    wrong = await listening.ledger.change(report(run, attempt, LeaseToken("cft_x"), 1, "started"))
    assert wrong == Refusal("foreign", "the token is not that of the attempt which holds the run", stop=True)
    stranger = await listening.ledger.change(Change(run, Cancel(), organisation_id=other.organisation_id))
    assert isinstance(stranger, Refusal)
    assert stranger.verdict == "unknown"
    assert await status_of(db, run) == "queued"
    assert isinstance(await listening.ledger.change(report(run, attempt, token, 1, "started")), Step)


async def test_a_lost_attempt_is_fenced(db: Database, listening: Listening) -> None:
    """After a loss the run waits again; the old attempt's late success changes nothing, the new one's counts."""
    team = await make_team(db)
    run = await queue_run(db, team)
    old, old_token = await place(listening.ledger, team, run)
    await listening.ledger.change(report(run, old, old_token, 1, "started"))
    lost = Change(run, Lost(old, Failure("machine_lost", "gone")))
    assert isinstance(await listening.ledger.change(lost), Step)
    assert await status_of(db, run) == "not-started"
    new, new_token = await place(listening.ledger, team, run, machine=1)
    late = report(run, old, old_token, 2, "success", outputs=[Output("1", "text", data="old")])
    refused = await listening.ledger.change(late)
    assert isinstance(refused, Refusal)
    assert refused.stop
    for seq, status in enumerate(["started", "running"], 1):
        await listening.ledger.change(report(run, new, new_token, seq, status))
    await listening.ledger.change(report(run, new, new_token, 3, "success", outputs=[Output("1", "text", data="new")]))
    assert [output.data for output in await runs.outputs_of(db, team.organisation_id, run)] == ["new"]
    outcomes = [attempt.outcome for attempt in await runs.attempts_of(db, team.organisation_id, run)]
    assert outcomes == ["lost", "success"]


async def test_two_ledgers_agree_on_one_winner(db: Database) -> None:
    """Two replicas that place, cancel and lose the same runs at once end each run once, with a gapless history."""
    team = await make_team(db)
    sides = [Listening(db), Listening(db)]
    ids = [await queue_run(db, team) for _ in range(20)]
    shuffler = random.Random(7)

    async def meddle(side: Listening) -> None:
        for run in shuffler.sample(ids, len(ids)):
            attempt, token = await place(side.ledger, team, run)
            wishes = [report(run, attempt, token, 1, "started"), report(run, attempt, token, 2, "success")]
            await side.ledger.apply([*wishes, Change(run, Cancel())])

    await asyncio.gather(*(meddle(side) for side in sides))
    for run in ids:
        history = [event.status for event in await runs.events_after(db, team.organisation_id, run, 0)]
        ended = [status for status in history if status in ("success", "cancelled")]
        assert len(ended) == 1
        assert history[-1] == ended[0]
    told = [changed for side in sides for changed in side.told if changed.state.status in ("success", "cancelled")]
    assert sorted(changed.run_id for changed in told) == sorted(ids)


async def test_webhooks_are_written_with_the_change(db: Database, listening: Listening) -> None:
    """The outbox gets a row for each endpoint that wants the change, and for the run's own URL."""
    team: Team = await make_team(db)
    for url, events in (("https://a.example/", ["run.ended"]), ("https://b.example/", ["run.updated"])):
        await db.execute(
            "insert into webhook_endpoints (id, organisation_id, url, events) values (uuid7(), $1, $2, $3)",
            team.organisation_id,
            url,
            events,
        )
    run = await queue_run(db, team, webhook_url="https://c.example/")
    await listening.ledger.change(Change(run, Cancel()))
    rows = await db.fetch("select event_type, endpoint_id is null as own from webhook_outbox where run_id = $1", run)
    assert sorted((row["event_type"], row["own"]) for row in rows) == [
        ("run.ended", False),
        ("run.ended", True),
        ("run.updated", False),
    ]


async def test_leases_do_not_run_out_while_nobody_watches(db: Database, listening: Listening) -> None:
    """After a gap in watching, leases and claims are extended by the gap; without one, an expired lease is overdue."""
    team = await make_team(db)
    run = await queue_run(db, team)
    attempt, _ = await place(listening.ledger, team, run)
    await fleet.beat(db, {team.machine_ids[0]: 1}, 10)
    await fleet.tick_clock(db, 5)
    assert await fleet.overdue(db, 0, 0, 10) == []
    for table, column in (("machine_beats", "lease_until"), ("attempts", "claim_until"), ("watch_clock", "ticked_at")):
        await db.execute(f"update {table} set {column} = {column} - interval '1 hour'")
    assert [found.attempt_id for found in await fleet.overdue(db, 0, 0, 10)] == [attempt]
    assert await fleet.tick_clock(db, 5) > 3500
    assert await fleet.overdue(db, 0, 0, 10) == []


async def test_the_head_of_the_queue_uses_its_index(db: Database) -> None:
    """The dispatcher's query is answered by the partial index of waiting runs."""
    team = await make_team(db)
    for _ in range(5):
        await queue_run(db, team)
    async with db.transaction() as connection:
        await connection.execute("set local enable_seqscan = off")
        await connection.execute("set local enable_sort = off")
        plan = await connection.fetch(
            """explain select id from runs where status = 'not-started' and not_before <= now()
               order by priority desc, id limit 5"""
        )
    assert any("runs_waiting" in row[0] for row in plan)


async def test_unused_grants_are_forgotten(db: Database) -> None:
    """A pending file older than a day goes; a young one and a stored one stay."""
    team = await make_team(db)
    for state, age in (("pending", 2), ("pending", 0), ("stored", 2)):
        await db.execute(
            """insert into files (id, organisation_id, purpose, state, name, content_type, size, sha256, created_at)
               values (uuid7(), $1, 'output', $2, 'a', 'image/png', 1, sha256('x'),
                       now() - make_interval(days => $3))""",
            team.organisation_id,
            state,
            age,
        )
    assert await files.drop_stale(db, 86400, 10) == 1
    assert await db.fetchval("select count(*) from files") == 2
