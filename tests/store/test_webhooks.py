"""The outbox in PostgreSQL: what enters it, how messages are claimed, moved on, listed and replayed."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

import pytest

from drivers.wire import Output
from orchestrator.runs.state import Cancel, Reported
from orchestrator.runs.webhooks import Again, Dead, Delivered
from orchestrator.store import ids, webhooks
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from orchestrator.store.webhooks import Due, Endpoint, Try
from tests.store.fleet_rows import Team, make_team, place, queue_run

pytestmark = pytest.mark.anyio
ACTOR = "user:test"
TRY = Try("http://x.example/", 500, "answered 500", 3)


async def add(db: Database, team: Team, *events: str) -> Endpoint:
    """An endpoint of the team."""
    made = await webhooks.add_endpoint(db, team.organisation_id, "http://x.example/hook", [*events], ACTOR, most=50)
    assert made is not None
    return made


def ledger(db: Database) -> Ledger:
    """A ledger that tells nobody."""
    return Ledger(db, lambda _changes, _to_tell: None)


async def end_run(db: Database, team: Team, **fields: object) -> str:
    """A run that was queued and cancelled."""
    run_id = await queue_run(db, team, **fields)
    await ledger(db).apply([Change(run_id, Cancel("test"), team.organisation_id)])
    return run_id


async def claim(db: Database, limit: int = 100, **options: object) -> list[Due]:
    """Claim with room for everything."""
    return await webhooks.due(db, limit, lease_s=60, per_key=100, **options)


async def test_a_change_enters_the_outbox_of_those_who_asked(db: Database) -> None:
    """Endpoints get the events they asked for; a run's own URL gets every change; others' endpoints get nothing."""
    team, other = await make_team(db), await make_team(db, "other")
    every, last = await add(db, team, "run.updated"), await add(db, team, "run.ended")
    await add(db, other, "run.updated")
    run_id = await queue_run(db, team, webhook_url="https://Own.example:8443/x?y=1")
    await place(ledger(db), team, run_id)
    await ledger(db).apply([Change(run_id, Cancel("test"), team.organisation_id)])
    found = {(item.endpoint_id, item.event_type, item.status) for item in await claim(db)}
    assert found == {
        (every.id, "run.updated", "queued"),
        (every.id, "run.updated", "cancelled"),
        (last.id, "run.ended", "cancelled"),
        (None, "run.updated", "queued"),
        (None, "run.ended", "cancelled"),
    }


async def test_an_endpoint_is_told_single_statuses_and_outputs_if_it_asks(db: Database) -> None:
    """run.running alone; run.output once for each node that made something; both in the statement of the change."""
    team = await make_team(db)
    running, output = await add(db, team, "run.running"), await add(db, team, "run.output")
    book, run_id = ledger(db), await queue_run(db, team)
    attempt, token = await place(book, team, run_id)
    made = [Output("9", "text", data="a"), Output("9", "text", data="b"), Output("11", "text", data="c")]
    for seq, status in enumerate(["started", "running", "uploading", "success"], 1):
        outputs = made if status == "success" else []
        await book.apply([Change(run_id, Reported(attempt, seq, status), token=token, outputs=outputs)])
    found = sorted((item.endpoint_id, item.event_type, item.status) for item in await claim(db))
    assert found == sorted(
        [
            (running.id, "run.running", "running"),
            (output.id, "run.output:9", "success"),
            (output.id, "run.output:11", "success"),
        ]
    )


async def test_an_endpoints_dead_messages_are_sent_again_together(db: Database) -> None:
    """Only its own, only the dead, as many as are allowed at once; a disabled endpoint's stay."""
    team, other = await make_team(db), await make_team(db, "other")
    mine, theirs = await add(db, team, "run.ended"), await add(db, team, "run.ended")
    for _ in range(3):
        run_id = await queue_run(db, team)
        await ledger(db).apply([Change(run_id, Cancel("test"), team.organisation_id)])
    await db.execute("update webhook_outbox set state = 'dead', tries = 10")
    replay = partial(webhooks.replay_dead, db, team.organisation_id, UUID(mine.id), ACTOR)
    assert await replay(2) == (2, True)
    assert await replay(2) == (1, False)
    assert [item.endpoint_id for item in await claim(db)] == [mine.id] * 3
    await webhooks.disable_endpoint(db, team.organisation_id, UUID(theirs.id), ACTOR)
    assert await webhooks.replay_dead(db, team.organisation_id, UUID(theirs.id), ACTOR, 2) is None
    assert await webhooks.replay_dead(db, other.organisation_id, UUID(mine.id), ACTOR, 2) is None


async def test_a_claim_knows_where_to_send_and_whose_secret_signs(db: Database) -> None:
    """An endpoint's message is signed with its own secret, a run URL's with the organisation's."""
    team = await make_team(db)
    hook = await add(db, team, "run.ended")
    await webhooks.rotate_secret(db, team.organisation_id, UUID(hook.id), ACTOR)
    await end_run(db, team, webhook_url="https://Own.example:8443/x?y=1")
    by_url = {item.url: item for item in await claim(db)}
    own = by_url["https://Own.example:8443/x?y=1"]
    assert (own.subject, own.secret_generation) == (team.organisation_id, 1)
    assert own.key == f"{team.organisation_id}@own.example:8443"
    registered = by_url["http://x.example/hook"]
    assert (registered.subject, registered.secret_generation, registered.key) == (hook.id, 2, hook.id)


async def test_a_claimed_message_is_claimed_by_nobody_else_until_its_lease_ends(db: Database) -> None:
    """Ten replicas that claim at once share the messages; those not recorded come back under the same id."""
    team = await make_team(db)
    await add(db, team, "run.ended")
    for _ in range(20):
        await end_run(db, team)
    claims = await asyncio.gather(*(claim(db, limit=5) for _ in range(10)))
    taken = [item.id for batch in claims for item in batch]
    assert len(taken) == len(set(taken))
    taken += [item.id for item in await claim(db)]
    assert len(taken) == len(set(taken)) == 20
    assert await claim(db) == []
    await db.execute("update webhook_outbox set next_at = now() - interval '1 second'")
    assert sorted(item.id for item in await claim(db)) == sorted(taken)


async def test_a_receiver_with_a_long_queue_hides_nobody(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver takes its few places at most, and one that had its turn is left out, however much waits for it."""
    monkeypatch.setattr(webhooks, "LOOKAHEAD", 10)
    team, other = await make_team(db), await make_team(db, "other")
    busy, quiet = await add(db, team, "run.ended"), await add(db, other, "run.ended")
    for _ in range(30):
        await end_run(db, team)
    await end_run(db, other)
    first = await webhooks.due(db, 100, lease_s=60, per_key=4)
    assert [item.endpoint_id for item in first] == [busy.id] * 4
    second = await webhooks.due(db, 100, lease_s=60, per_key=4, flying={busy.id: 4})
    assert [item.endpoint_id for item in second] == [quiet.id]
    third = await webhooks.due(db, 100, lease_s=60, per_key=4, flying={busy.id: 1})
    assert [item.endpoint_id for item in third] == [busy.id] * 3
    assert await webhooks.due(db, 100, lease_s=60, per_key=4, skip={busy.id}) == []


async def one_due(db: Database) -> tuple[Team, Endpoint, Due]:
    """A team, its endpoint, and one claimed message."""
    team = await make_team(db)
    hook = await add(db, team, "run.ended")
    await end_run(db, team)
    [item] = await claim(db)
    return team, hook, item


async def test_a_try_moves_the_message_on(db: Database) -> None:
    """Again sets the next time and counts, Delivered ends it; each try is written down and the last one shown."""
    team, _, item = await one_due(db)
    await webhooks.record(db, item, TRY, Again(3600))
    [shown] = await webhooks.deliveries(db, team.organisation_id)
    assert (shown.state, shown.tries, shown.response_code, shown.error) == ("pending", 1, 500, "answered 500")
    assert shown.next_at is not None
    assert 3500 < (shown.next_at - shown.created_at).total_seconds() < 3700
    assert await claim(db) == []
    await db.execute("update webhook_outbox set next_at = now()")
    [again] = await claim(db)
    assert (again.id, again.tries) == (item.id, 1)
    await webhooks.record(db, again, Try("http://x.example/", 204, None, 3), Delivered())
    [shown] = await webhooks.deliveries(db, team.organisation_id)
    assert (shown.state, shown.tries, shown.response_code, shown.next_at) == ("delivered", 2, 204, None)
    assert shown.delivered_at is not None
    assert await db.fetchval("select count(*) from webhook_deliveries") == 2


async def test_a_late_failure_does_not_undo_a_delivery(db: Database) -> None:
    """When a lease ran out and somebody else delivered, the slow sender's failure changes nothing but the log."""
    team, _, item = await one_due(db)
    await webhooks.record(db, item, Try("http://x.example/", 200, None, 3), Delivered())
    await webhooks.record(db, item, TRY, Again(5))
    [shown] = await webhooks.deliveries(db, team.organisation_id)
    assert (shown.state, shown.tries) == ("delivered", 1)
    assert await db.fetchval("select count(*) from webhook_deliveries") == 2


async def test_a_late_success_counts(db: Database) -> None:
    """The receiver has it, whatever the other sender met."""
    team, _, item = await one_due(db)
    await webhooks.record(db, item, TRY, Again(5))
    await webhooks.record(db, item, Try("http://x.example/", 200, None, 3), Delivered())
    [shown] = await webhooks.deliveries(db, team.organisation_id)
    assert shown.state == "delivered"


async def test_gone_disables_the_endpoint_and_all_that_waits_for_it(db: Database) -> None:
    """After a 410 nothing more is sent or queued; enabling it again lets new changes in."""
    team, hook, item = await one_due(db)
    await end_run(db, team)
    await webhooks.record(db, item, TRY, Dead("the receiver answered 410 Gone"))
    states = [shown.state for shown in await webhooks.deliveries(db, team.organisation_id)]
    assert states == ["dead", "dead"]
    await end_run(db, team)
    assert len(await webhooks.deliveries(db, team.organisation_id)) == 2
    assert await webhooks.replay(db, team.organisation_id, UUID(item.id), ACTOR) is False
    enabled = await webhooks.enable_endpoint(db, team.organisation_id, UUID(hook.id), ACTOR)
    assert enabled is not None
    assert enabled.disabled_at is None
    assert await webhooks.replay(db, team.organisation_id, UUID(item.id), ACTOR) is True
    await end_run(db, team)
    assert len(await claim(db)) == 2


async def test_replay_sends_the_same_message_again(db: Database) -> None:
    """A delivered message becomes due at once, under its id, with its tries counted anew."""
    team, _, item = await one_due(db)
    await webhooks.record(db, item, TRY, Delivered())
    assert await webhooks.replay(db, team.organisation_id, UUID(item.id), ACTOR) is True
    [again] = await claim(db)
    assert (again.id, again.tries) == (item.id, 0)


async def test_nothing_of_another_organisation_can_be_seen_or_changed(db: Database) -> None:
    """Every read and write is filtered by organisation."""
    _, hook, item = await one_due(db)
    stranger = (await make_team(db, "other")).organisation_id
    hook_id = UUID(hook.id)
    assert await webhooks.endpoints(db, stranger, None, 10) == []
    assert await webhooks.endpoint(db, stranger, hook_id) is None
    assert await webhooks.rotate_secret(db, stranger, hook_id, ACTOR) is None
    assert await webhooks.enable_endpoint(db, stranger, hook_id, ACTOR) is None
    assert await webhooks.remove_endpoint(db, stranger, hook_id, ACTOR) is False
    assert await webhooks.deliveries(db, stranger) == []
    assert await webhooks.replay(db, stranger, UUID(item.id), ACTOR) is None


async def test_deliveries_are_paged_and_filtered(db: Database) -> None:
    """Newest first, by run and by state, each page starting after the one before."""
    team = await make_team(db)
    await add(db, team, "run.ended")
    runs = [await end_run(db, team) for _ in range(5)]
    organisation = team.organisation_id
    first = await webhooks.deliveries(db, organisation, limit=3)
    rest = await webhooks.deliveries(db, organisation, limit=3, before=UUID(first[-1].id))
    assert [item.run_id for item in [*first, *rest]] == [str(run) for run in reversed(runs)]
    assert [item.run_id for item in await webhooks.deliveries(db, organisation, run_id=UUID(runs[1]))] == [runs[1]]
    assert await webhooks.deliveries(db, organisation, state="dead") == []
    assert len(await webhooks.deliveries(db, organisation, state="pending")) == 5


async def test_an_organisation_has_so_many_endpoints_at_most(db: Database) -> None:
    """One more than `most` is not stored, and every change of an endpoint leaves a line in the audit log."""
    team = await make_team(db)
    for expected in (True, True, False):
        made = await webhooks.add_endpoint(db, team.organisation_id, "http://x.example/", ["run.ended"], ACTOR, most=2)
        assert (made is not None) is expected
    [newest, _] = await webhooks.endpoints(db, team.organisation_id, None, 10)
    assert await webhooks.remove_endpoint(db, team.organisation_id, UUID(newest.id), ACTOR) is True
    actions = await db.fetch("select action, subject from audit_log order by id desc limit 1")
    assert [(row["action"], row["subject"]) for row in actions] == [("webhook.delete", f"webhook:{newest.id}")]


async def test_a_claim_finds_its_rows_by_the_index_of_what_is_due(db: Database) -> None:
    """Among thousands of delivered messages the few that are due are found without reading the rest."""
    team = await make_team(db)
    run_id = await end_run(db, team)
    await db.execute(
        """insert into webhook_outbox (id, organisation_id, run_id, revision, status, event_type, state)
           select gen_random_uuid(), $1, $2, 1, 'success', 'run.ended', 'delivered' from generate_series(1, 20000)""",
        team.organisation_id,
        run_id,
    )
    await db.execute("analyze webhook_outbox")
    plan = await db.fetch("explain " + webhooks._CLAIM, [], [], [], 4, 64, 60.0, 1000)
    text = "\n".join(row[0] for row in plan)
    assert "webhook_outbox_due" in text
    assert "Seq Scan on webhook_outbox" not in text


def test_ids_sort_by_time() -> None:
    """Paging by id is paging by age."""
    made = [ids.new_id() for _ in range(100)]
    assert made == sorted(made)
