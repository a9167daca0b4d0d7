"""The rules of webhooks: which events match, when to try again, what the message holds, how it is signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from orchestrator.runs.state import STATUSES, TERMINAL
from orchestrator.runs.webhooks import (
    JITTER,
    LONGEST_RETRY_AFTER_S,
    SCHEDULE_S,
    Again,
    Answered,
    Dead,
    Delivered,
    after,
    matches,
    message_body,
    ping_body,
    retry_after_s,
    signed_headers,
    webhook_secret,
)
from orchestrator.wire import Run, RunOutput, WebhookMessage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(status: str) -> Run:
    """A run with one output."""
    return Run(
        id="r1",
        status=status,
        workflow_id="w1",
        version_id="v1",
        created_at=NOW,
        revision=4,
        outputs=[RunOutput(node_id="9", kind="images")],
    )


@pytest.mark.parametrize("status", STATUSES)
def test_which_event_a_change_is(status: str) -> None:
    """run.updated is sent every change, run.ended the terminal ones, and one change makes one message."""
    ended = status in TERMINAL
    assert matches(["run.updated"], status) == "run.updated"
    assert matches(["run.ended"], status) == ("run.ended" if ended else None)
    assert matches(["run.updated", "run.ended"], status) == ("run.ended" if ended else "run.updated")
    assert matches([], status) is None
    assert matches(["run.running", "run.failed"], status) == (
        f"run.{status}" if status in ("running", "failed") else None
    )
    assert matches([f"run.{status}", "run.updated"], status) == "run.updated"


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_a_success_delivers(code: int) -> None:
    """Any 2xx takes the message."""
    assert after(Answered(code), 1, 0.5, NOW) == Delivered()


@pytest.mark.parametrize("code", [None, 100, 301, 302, 400, 404, 429, 500, 503])
def test_every_other_answer_is_tried_again_by_the_schedule(code: int | None) -> None:
    """Without jitter the delays are the schedule's, and after the last try the message is dead."""
    delays = [after(Answered(code), tries, 0.5, NOW) for tries in range(1, len(SCHEDULE_S))]
    assert delays == [Again(seconds) for seconds in SCHEDULE_S[1:]]
    assert after(Answered(code), len(SCHEDULE_S), 0.5, NOW) == Dead()


def test_the_schedule_lasts_for_days() -> None:
    """Ten tries over more than three days: a receiver that is down for a weekend misses nothing."""
    assert len(SCHEDULE_S) == 10
    assert sum(SCHEDULE_S) > 3 * 86400


def test_gone_ends_it_and_disables_the_endpoint() -> None:
    """410 says that nobody wants these messages any more."""
    decision = after(Answered(410), 1, 0.5, NOW)
    assert isinstance(decision, Dead)
    assert decision.disable is not None


@given(tries=st.integers(1, 9), roll=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_its_bounds(tries: int, roll: float) -> None:
    """A delay is within a tenth of the schedule's."""
    decision = after(Answered(500), tries, roll, NOW)
    assert isinstance(decision, Again)
    planned = SCHEDULE_S[tries]
    assert planned * (1 - JITTER) <= decision.delay_s <= planned * (1 + JITTER)


def test_retry_after_is_honoured_but_never_shortens_the_schedule() -> None:
    """A receiver may ask for more time, not for less, and not for more than a day."""
    assert after(Answered(429, "120"), 1, 0.5, NOW) == Again(120)
    assert after(Answered(503, "1"), 2, 0.5, NOW) == Again(SCHEDULE_S[2])
    assert after(Answered(429, "9999999999"), 1, 0.5, NOW) == Again(LONGEST_RETRY_AFTER_S)


def test_retry_after_may_be_a_date() -> None:
    """An HTTP date counts from now; one in the past, or without a zone, asks for nothing."""
    assert retry_after_s(format_datetime(NOW + timedelta(minutes=7), usegmt=True), NOW) == 420
    assert retry_after_s(format_datetime(NOW - timedelta(minutes=7), usegmt=True), NOW) == 0
    assert retry_after_s("Sun, 01 Mar 2026 12:07:00 -0000", NOW) == 0


@given(st.text(max_size=40))
def test_any_retry_after_is_read_without_a_fault(header: str) -> None:
    """Whatever a receiver sends, the wait is between nothing and a day."""
    assert 0 <= retry_after_s(header, NOW) <= LONGEST_RETRY_AFTER_S


def test_outputs_go_along_only_when_the_run_has_ended() -> None:
    """A message is a WebhookMessage whose data is the run."""
    running = msgspec.json.decode(message_body("run.updated", NOW, run("running")), type=WebhookMessage)
    ended = msgspec.json.decode(message_body("run.ended", NOW, run("success")), type=WebhookMessage)
    assert (running.type, running.timestamp, running.data.outputs) == ("run.updated", NOW, None)
    assert ended.data.outputs is not None
    assert (ended.type, ended.data.outputs[0].node_id) == ("run.ended", "9")


def test_a_message_about_an_output_holds_that_nodes_outputs_alone() -> None:
    """run.output names its node behind a colon; the receiver sees the plain type and only what that node made."""
    outputs = [RunOutput(node_id="9", kind="images"), RunOutput(node_id="10", kind="text", data="x")]
    whole = msgspec.structs.replace(run("success"), outputs=outputs)
    message = msgspec.json.decode(message_body("run.output:10", NOW, whole))
    assert message["type"] == "run.output"
    assert message["data"]["outputs"] == [{"node_id": "10", "kind": "text", "data": "x"}]


def test_a_secret_is_derived_and_differs_by_subject_and_generation() -> None:
    """The same master key, subject and generation give the same secret; any other gives another."""
    secret = webhook_secret(b"master", "a", 1)
    assert secret == webhook_secret(b"master", "a", 1)
    others = [webhook_secret(b"other", "a", 1), webhook_secret(b"master", "b", 1), webhook_secret(b"master", "a", 2)]
    assert secret.startswith("whsec_")
    assert len({secret, *others}) == 4


def test_the_published_library_verifies_what_was_signed() -> None:
    """A receiver with the library of Standard Webhooks accepts the message, and refuses it with another secret."""
    body = ping_body("e1", NOW)
    headers = signed_headers(webhook_secret(b"m", "e1", 1), "msg_1", datetime.now(UTC), body)
    assert Verifier(webhook_secret(b"m", "e1", 1)).verify(body, headers)["data"] == {"webhook_id": "e1"}
    with pytest.raises(WebhookVerificationError):
        Verifier(webhook_secret(b"m", "e1", 2)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(webhook_secret(b"m", "e1", 1)).verify(body + b" ", headers)
