"""Webhooks on the wire: real receivers, the real outbox, and the routes of the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from aiohttp import web

from orchestrator import wire
from orchestrator.config import Config
from orchestrator.loops import notify as notify_module
from orchestrator.loops.notify import PER_RECEIVER, Notify
from orchestrator.runs.state import Cancel
from orchestrator.runs.webhooks import ping_body, signed_headers, webhook_secret
from orchestrator.store import ids, webhooks
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from tests.store.fleet_rows import Team, make_team, queue_run
from tests.system import until
from tests.wire.webhook_receiver import Receiver, receiving

pytestmark = pytest.mark.anyio
MASTER = b"a master key"


class Office:
    """A team, its database, a sender and a receiver that knows the team's secret for run URLs."""

    def __init__(self, db: Database, team: Team, receiver: Receiver) -> None:
        self.db, self.team, self.receiver = db, team, receiver
        self.senders: list[Notify] = []

    def sender(self, *, timeout_s: float = 5.0, private: bool = True) -> Notify:
        """Another replica's sender."""
        config = Config(webhook_private=private, webhook_timeout_s=timeout_s)
        made = Notify(self.db, config, MASTER, self.load_run)
        self.senders.append(made)
        return made

    async def load_run(self, organisation_id: str, run_id: str) -> wire.Run | None:
        """The run as the sender shows it."""
        row = await self.db.fetchrow(
            "select *, status::text as word from runs where organisation_id = $1 and id = $2", organisation_id, run_id
        )
        if row is None:
            return None
        return wire.Run(
            id=str(row["id"]),
            status=row["word"],
            workflow_id=str(row["workflow_id"]),
            version_id=str(row["version_id"]),
            created_at=row["created_at"],
            revision=row["revision"],
        )

    async def end_run(self, path: str) -> str:
        """A run that ends and is to be told to the receiver's path by its own URL."""
        run_id = await queue_run(self.db, self.team, webhook_url=self.receiver.url + path)
        ledger = Ledger(self.db, lambda _changes, _to_tell: None)
        await ledger.apply([Change(run_id, Cancel("test"), self.team.organisation_id)])
        return run_id

    async def make_due(self) -> None:
        """Let the time pass that pending messages wait for."""
        await self.db.execute("update webhook_outbox set next_at = now() where state = 'pending'")

    async def turn(self, sender: Notify) -> None:
        """Send all that is due and wait for what comes of it."""
        while await sender.tick():
            pass
        await sender.settle()

    async def delivery(self, run_id: str) -> wire.Delivery:
        """The one delivery about the run."""
        found = await webhooks.deliveries(self.db, self.team.organisation_id, run_id=UUID(run_id))
        assert len(found) == 1
        return found[0]

    async def waits_s(self, run_id: str) -> float:
        """Seconds until the run's message is tried again."""
        return float(
            await self.db.fetchval(
                "select extract(epoch from next_at - now())::float8 from webhook_outbox where run_id = $1", run_id
            )
        )


@pytest.fixture
async def office(db: Database) -> AsyncIterator[Office]:
    """An Office, its receiver listening."""
    async with receiving() as receiver:
        it = Office(db, await make_team(db), receiver)
        receiver.secret = webhook_secret(MASTER, it.team.organisation_id, 1)
        yield it
        receiver.release.set()
        for sender in it.senders:
            await sender.close()


async def test_a_message_arrives_signed_and_once(office: Office) -> None:
    """The receiver verifies it with the published library; a second turn sends nothing more."""
    run_id = await office.end_run("/ok")
    sender = office.sender()
    await office.turn(sender)
    await office.turn(sender)
    [(_, message_id, message)] = office.receiver.seen
    shown = await office.delivery(run_id)
    assert message_id == shown.id
    assert (message["type"], message["data"]["id"], message["data"]["status"]) == ("run.ended", run_id, "cancelled")
    assert (shown.state, shown.tries, shown.response_code, shown.error) == ("delivered", 1, 200, None)


@pytest.mark.parametrize(
    ("path", "code", "error", "shortest", "longest"),
    [
        ("/status/500", 500, "answered 500: not today", 4, 6),
        ("/status/404", 404, "answered 404: not today", 4, 6),
        ("/redirect", 302, "redirects are not followed", 4, 6),
        ("/later", 429, "answered 429", 6900, 7001),
        ("/hang", None, "no answer in time", 3, 6),
        ("/close", None, "ServerDisconnectedError", 4, 6),
        ("/cut", 500, "answered 500: half", 4, 6),
    ],
)
async def test_a_failed_try_is_repeated_under_the_same_id(
    office: Office, path: str, code: int | None, error: str, shortest: float, longest: float
) -> None:
    """Whatever goes wrong, the message waits by the schedule (or Retry-After) and comes again as the same message."""
    run_id = await office.end_run(path)
    sender = office.sender(timeout_s=0.5 if path == "/hang" else 5)
    await office.turn(sender)
    shown = await office.delivery(run_id)
    assert (shown.state, shown.tries, shown.response_code) == ("pending", 1, code)
    assert error in (shown.error or "")
    assert shortest < await office.waits_s(run_id) <= longest
    await office.make_due()
    await office.turn(sender)
    assert [(seen, message_id) for seen, message_id, _ in office.receiver.seen] == [(path, shown.id)] * 2


async def test_after_the_last_try_the_message_is_dead(office: Office) -> None:
    """Ten failures, and no eleventh try."""
    run_id = await office.end_run("/status/503")
    sender = office.sender()
    for _ in range(12):
        await office.turn(sender)
        await office.make_due()
    shown = await office.delivery(run_id)
    assert (shown.state, shown.tries, len(office.receiver.seen)) == ("dead", 10, 10)


async def test_gone_ends_it_at_once(office: Office) -> None:
    """A 410 for a run's own URL is not tried again."""
    run_id = await office.end_run("/status/410")
    await office.turn(office.sender())
    shown = await office.delivery(run_id)
    assert (shown.state, shown.tries, shown.response_code) == ("dead", 1, 410)


async def test_a_sender_that_dies_in_the_middle_loses_nothing(office: Office) -> None:
    """The message reached the receiver, the sender died before noting it: another sends it again under its id."""
    run_id = await office.end_run("/hang")
    doomed = office.sender()
    await doomed.tick()
    await office.receiver.wait_for("/hang")
    for task in doomed._tasks:
        task.cancel()
    await doomed.settle()
    assert (await office.delivery(run_id)).tries == 0
    office.receiver.release.set()
    await office.make_due()
    await office.turn(office.sender())
    first, second = [message_id for _, message_id, _ in office.receiver.seen]
    assert first == second
    assert (await office.delivery(run_id)).state == "delivered"


async def test_two_senders_share_the_work(office: Office) -> None:
    """What one replica has claimed, the other leaves alone."""
    for _ in range(30):
        await office.end_run("/ok")
    await asyncio.gather(*(office.turn(office.sender()) for _ in range(3)))
    while await office.db.fetchval("select count(*) from webhook_outbox where state = 'pending'"):
        await office.turn(office.senders[0])
    got = [message_id for _, message_id, _ in office.receiver.seen]
    assert len(got) == len(set(got)) == 30


async def test_a_hanging_receiver_delays_nobody_else(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred messages for a receiver that hangs, another's arrives at once; the first has its few places."""
    monkeypatch.setattr(webhooks, "LOOKAHEAD", 20)
    async with receiving() as quick:
        quick.secret = office.receiver.secret
        for _ in range(100):
            await office.end_run("/hang")
        run_id = await queue_run(office.db, office.team, webhook_url=f"{quick.url}/ok")
        ledger = Ledger(office.db, lambda _changes, _to_tell: None)
        await ledger.apply([Change(run_id, Cancel("test"), office.team.organisation_id)])
        sender = office.sender(timeout_s=30)
        while await sender.tick():
            pass
        await quick.wait_for("/ok")
        await office.receiver.wait_for("/hang", PER_RECEIVER)
        assert office.receiver.most_together == PER_RECEIVER
        assert await sender.tick() is False


async def test_there_is_a_bound_on_all_that_is_under_way(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many receivers hang, no more than OVERALL messages are out."""
    monkeypatch.setattr(notify_module, "OVERALL", 3)
    for _ in range(10):
        await office.end_run("/hang")
    sender = office.sender(timeout_s=30)
    while await sender.tick():
        pass
    await office.receiver.wait_for("/hang", 3)
    assert office.receiver.most_together == 3


async def test_no_transaction_is_open_while_a_message_is_out(office: Office) -> None:
    """During a send every connection of the database is idle, and none inside a transaction."""
    await office.end_run("/hang")
    sender = office.sender(timeout_s=30)
    await sender.tick()
    await office.receiver.wait_for("/hang")
    busy = await office.db.fetchval(
        """select count(*) from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
             and backend_type = 'client backend'"""
    )
    assert busy == 0


async def test_an_inner_address_is_refused_when_sending(office: Office) -> None:
    """A URL that was stored but may not be reached is never connected to, and the log says why."""
    run_id = await office.end_run("/ok")
    await office.turn(office.sender(private=False))
    shown = await office.delivery(run_id)
    assert office.receiver.seen == []
    assert (shown.state, shown.response_code) == ("pending", None)
    assert "refused" in (shown.error or "")


async def test_an_endpoint_is_disabled_by_gone_and_signed_with_its_own_secret(office: Office) -> None:
    """An endpoint's own secret signs; after its 410 it is disabled with the reason."""
    organisation = office.team.organisation_id
    hook = await webhooks.add_endpoint(
        office.db, organisation, f"{office.receiver.url}/status/410", ["run.ended"], "user:test", most=5
    )
    assert hook is not None
    office.receiver.secret = webhook_secret(MASTER, hook.id, 1)
    run_id = await queue_run(office.db, office.team)
    ledger = Ledger(office.db, lambda _changes, _to_tell: None)
    await ledger.apply([Change(run_id, Cancel("test"), organisation)])
    await office.turn(office.sender())
    assert len(office.receiver.seen) == 1
    [shown] = await webhooks.endpoints(office.db, organisation, None, 5)
    assert shown.disabled_at is not None
    assert shown.disabled_reason == "the receiver answered 410 Gone"


# The routes, against the real server.

Make = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


@pytest.fixture
def make(api: httpx.AsyncClient) -> Make:
    """Registers an endpoint; returns the answer's body."""

    async def made(url: str, **fields: Any) -> dict[str, Any]:
        answer = await api.post("/api/v1/webhooks", json={"url": url, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return made


async def test_an_endpoint_is_made_listed_rotated_and_deleted(api: httpx.AsyncClient, make: Make) -> None:
    """The secret is shown when made and when rotated, never in a list."""
    hook = await make("https://example.com/hook", events=["run.updated", "run.ended", "run.ended"])
    assert hook["events"] == ["run.updated", "run.ended"]
    assert hook["secret"].startswith("whsec_")
    listed = (await api.get("/api/v1/webhooks")).json()["items"]
    assert hook["id"] in [item["id"] for item in listed]
    assert all("secret" not in item for item in listed)
    rotated = (await api.post(f"/api/v1/webhooks/{hook['id']}/rotate")).json()
    assert rotated["secret"] not in (None, hook["secret"])
    assert (await api.delete(f"/api/v1/webhooks/{hook['id']}")).status_code == 204
    gone = await api.delete(f"/api/v1/webhooks/{hook['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "webhook_not_found")


@pytest.mark.parametrize(
    "url", ["ftp://example.com/x", "http://169.254.169.254/latest", "http://user:pw@example.com/", "http://0xA9FEA9FE/"]
)
async def test_a_url_that_may_not_be_reached_is_refused(api: httpx.AsyncClient, url: str) -> None:
    """422 with the code url_refused, naming the field and the reason."""
    answer = await api.post("/api/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "url_refused")
    assert answer.json()["errors"][0]["path"] == "url"


@pytest.mark.parametrize(
    "body", [{}, {"url": "https://example.com/x", "events": []}, {"url": "https://example.com/x", "events": ["run.x"]}]
)
async def test_a_wrong_body_is_refused(api: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """A missing URL, no event and an unknown event are 422."""
    assert (await api.post("/api/v1/webhooks", json=body)).status_code == 422


async def test_a_test_message_is_sent_now(api: httpx.AsyncClient, make: Make) -> None:
    """The ping is signed with the endpoint's secret, and its answer comes back; a failure is told, not raised."""
    async with receiving() as receiver:
        hook = await make(f"{receiver.url}/ok")
        receiver.secret = hook["secret"]
        told = (await api.post(f"/api/v1/webhooks/{hook['id']}/test")).json()
        assert (told["delivered"], told["response_code"]) == (True, 200)
        [(_, _, message)] = receiver.seen
        assert (message["type"], message["data"]) == ("ping", {"webhook_id": hook["id"]})
        hook = await make(f"{receiver.url}/status/500")
        receiver.secret = hook["secret"]
        told = (await api.post(f"/api/v1/webhooks/{hook['id']}/test")).json()
        assert (told["delivered"], told["response_code"], told["error"]) == (False, 500, "answered 500: not today")
    told = (await api.post(f"/api/v1/webhooks/{hook['id']}/test")).json()
    assert told["delivered"] is False
    assert "response_code" not in told


async def test_the_secret_of_run_urls_is_the_organisations(api: httpx.AsyncClient) -> None:
    """The same secret every time it is asked for."""
    first = (await api.get("/api/v1/webhooks/run-url-secret")).json()
    assert first["secret"].startswith("whsec_")
    assert (await api.get("/api/v1/webhooks/run-url-secret")).json() == first


async def test_a_viewer_sees_and_changes_nothing(api: httpx.AsyncClient, orchestrator: Any) -> None:
    """A viewer lists endpoints and deliveries, but makes none and sees no secret."""
    made = await api.post("/api/v1/api-keys", json={"name": "looker", "role": "viewer"})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers) as viewer:
        assert (await viewer.get("/api/v1/webhooks")).status_code == 200
        assert (await viewer.get("/api/v1/webhooks/deliveries")).status_code == 200
        refused = await viewer.post("/api/v1/webhooks", json={"url": "https://example.com/x"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await viewer.get("/api/v1/webhooks/run-url-secret")).status_code == 403


async def test_deliveries_are_listed_and_replayed(api: httpx.AsyncClient, make: Make, orchestrator: Any) -> None:
    """A dead message is found by its run and its state, and a replay makes it due again."""
    organisation = (await api.get("/api/v1/auth/me")).json()["organisation_id"]
    async with receiving() as receiver:
        hook = await make(f"{receiver.url}/ok")
        receiver.secret = hook["secret"]
        db = await Database.open(orchestrator.database_url)
        try:
            run_id, outbox_id = await dead_message(db, organisation, hook["id"])
            query = {"run_id": run_id, "state": "dead"}
            [listed] = (await api.get("/api/v1/webhooks/deliveries", params=query)).json()["items"]
            assert (listed["id"], listed["url"], listed["status"]) == (outbox_id, hook["url"], "success")
            replayed = await api.post(f"/api/v1/webhooks/deliveries/{outbox_id}/replay")
            assert (replayed.status_code, replayed.json()["id"]) == (202, outbox_id)
            assert replayed.json()["state"] in ("pending", "delivered")
            await db.execute("update webhook_endpoints set disabled_at = now() where id = $1", hook["id"])
            refused = await api.post(f"/api/v1/webhooks/deliveries/{outbox_id}/replay")
            assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
            enabled = await api.post(f"/api/v1/webhooks/{hook['id']}/enable")
            assert "disabled_at" not in enabled.json()
        finally:
            await db.close()
    unknown = await api.post(f"/api/v1/webhooks/deliveries/{ids.new_id()}/replay")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_not_found")


async def test_an_endpoint_is_changed_disabled_and_given_what_it_missed(
    api: httpx.AsyncClient, make: Make, orchestrator: Any
) -> None:
    """Dead messages wait while it is disabled; enabled, one call sends them all, and every try is told."""
    organisation = (await api.get("/api/v1/auth/me")).json()["organisation_id"]
    async with receiving() as receiver:
        hook = await make("https://example.com/elsewhere")
        path = f"/api/v1/webhooks/{hook['id']}"
        changed = await api.patch(path, json={"url": f"{receiver.url}/ok", "events": ["run.failed", "run.output"]})
        assert (changed.json()["events"], changed.json()["url"]) == (["run.failed", "run.output"], f"{receiver.url}/ok")
        assert (await api.get(path)).json() == changed.json()
        receiver.secret = hook["secret"]
        assert (await api.post(f"{path}/disable")).json()["disabled_reason"] == "disabled by hand"
        db = await Database.open(orchestrator.database_url)
        try:
            messages = [(await dead_message(db, organisation, hook["id"]))[1] for _ in range(2)]
        finally:
            await db.close()
        refused = await api.post(f"{path}/replay")
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
        await api.post(f"{path}/enable")
        answer = await api.post(f"{path}/replay")
        assert (answer.status_code, answer.json()) == (202, {"replayed": 2, "more": False})

        async def look() -> dict[str, Any]:
            query = {"webhook_id": hook["id"], "state": "delivered"}
            return (await api.get("/api/v1/webhooks/deliveries", params=query)).json()

        seen = await until(look, lambda page: len(page["items"]) == 2)
        assert {item["id"] for item in seen["items"]} == set(messages)
        tries = (await api.get(f"/api/v1/webhooks/deliveries/{messages[0]}/tries")).json()["items"]
        assert [(one["url"], one["response_code"]) for one in tries] == [(f"{receiver.url}/ok", 200)]
    for wrong in ({"events": []}, {"events": ["run.eaten"]}, {"url": "http://169.254.169.254/"}, {"secret": "x"}):
        assert (await api.patch(path, json=wrong)).status_code == 422
    assert (await api.patch(f"/api/v1/webhooks/{ids.new_id()}", json={})).status_code == 404


async def dead_message(db: Database, organisation: str, endpoint_id: str) -> tuple[str, str]:
    """A dead message about a run of the organisation."""
    other = await make_team(db, "rows")
    run_id, outbox_id = await queue_run(db, other), ids.new_id()
    await db.execute("update runs set organisation_id = $1, status = 'success' where id = $2", organisation, run_id)
    await db.execute(
        """insert into webhook_outbox (id, organisation_id, run_id, revision, status, event_type, endpoint_id, state)
           values ($1, $2, $3, 2, 'success', 'run.ended', $4, 'dead')""",
        outbox_id,
        organisation,
        run_id,
        endpoint_id,
    )
    return run_id, outbox_id


async def test_the_receiver_in_the_documentation_works(api: httpx.AsyncClient, make: Make) -> None:
    """The Python receiver of docs/API/webhooks.md takes a signed message, refuses a forged one, and knows repeats."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "API" / "webhooks.md").read_text()
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    seen: set[str] = set()
    secret = webhook_secret(MASTER, "docs", 1)
    runner = web.AppRunner(names["receiver"](secret, seen), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/comfyfleet"
    body = ping_body("docs", datetime.now(UTC))
    good = signed_headers(secret, "msg_1", datetime.now(UTC), body)
    forged = signed_headers(webhook_secret(b"guess", "docs", 1), "msg_2", datetime.now(UTC), body)
    try:
        async with httpx.AsyncClient() as client:
            codes = [(await client.post(url, content=body, headers=headers)).status_code for headers in (good, forged)]
            again = await client.post(url, content=body, headers=good)
        hook = await make(url)
        told = (await api.post(f"/api/v1/webhooks/{hook['id']}/test")).json()
    finally:
        await runner.cleanup()
    assert (codes, again.status_code, seen) == ([204, 401], 204, {"msg_1"})
    assert told["response_code"] == 401  # another secret than this receiver's
