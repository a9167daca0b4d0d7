"""The rules of telling others about a run: who is told, what, signed how, and what follows from the answer.

Pure: no network, no clock, no database. Messages are signed as Standard Webhooks has it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from standardwebhooks import Webhook as Signer

from orchestrator.runs.state import TERMINAL, Status
from orchestrator.wire import Run, WebhookMessage

OUTPUT: Final = "run.output"

# Seconds between a try and the one before; the first goes out at once, and after the last the message is dead.
SCHEDULE_S: Final = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
JITTER: Final = 0.1
LONGEST_RETRY_AFTER_S: Final = 86400.0


class Delivered(Struct, frozen=True):
    """The receiver took the message."""


class Again(Struct, frozen=True):
    """Try again delay_s seconds from now."""

    delay_s: float


class Dead(Struct, frozen=True):
    """Give the message up. disable: the endpoint wants no more of them, for this reason."""

    disable: str | None = None


Decision = Delivered | Again | Dead


class Answered(Struct, frozen=True):
    """What came of one try: the response's code (None: no response) and its Retry-After."""

    code: int | None
    retry_after: str | None = None


def matches(events: list[str], status: Status) -> str | None:
    """The event type an endpoint that asked for these events is sent for a run's change to status, or None.

    One change makes one message, however often it was asked for: of run.ended, run.updated and run.<status> the first.
    """
    if status in TERMINAL and "run.ended" in events:
        return "run.ended"
    if "run.updated" in events:
        return "run.updated"
    return f"run.{status}" if f"run.{status}" in events else None


def after(answer: Answered, tries: int, roll: float, now: datetime) -> Decision:
    """Decide after a try; tries counts those made, this one included; roll is a random number in [0, 1).

    A 2xx delivers, 410 ends it and disables the endpoint, anything else (a redirect too) is tried again by SCHEDULE_S,
    never before a Retry-After, until the schedule is used up.
    """
    if answer.code is not None and 200 <= answer.code < 300:
        return Delivered()
    if answer.code == 410:
        return Dead("the receiver answered 410 Gone")
    if tries >= len(SCHEDULE_S):
        return Dead()
    planned = SCHEDULE_S[tries] * (1 + JITTER * (2 * roll - 1))
    return Again(max(planned, retry_after_s(answer.retry_after, now)))


def retry_after_s(header: str | None, now: datetime) -> float:
    """Seconds a Retry-After header asks for, as a number or as a date; 0 without a readable one; at most a day."""
    if not header:
        return 0.0
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return 0.0
    if moment.tzinfo is None:
        return 0.0
    return min(max(0.0, (moment - now).total_seconds()), LONGEST_RETRY_AFTER_S)


def message_body(event_type: str, at: datetime, run: Run) -> bytes:
    """The JSON of a message about a run; outputs go along only once the run has ended. at: when the run changed.

    event_type `run.output:<node>` tells of that node's outputs alone.
    """
    kind, _, node_id = event_type.partition(":")
    shown = run if run.status in TERMINAL else replace(run, outputs=None)
    if kind == OUTPUT:
        shown = replace(shown, outputs=[output for output in shown.outputs or [] if output.node_id == node_id])
    return msgspec.json.encode(WebhookMessage(kind, at, replace(shown, attempt_list=None)))


def ping_body(webhook_id: str, at: datetime) -> bytes:
    """The JSON of a test message."""
    return msgspec.json.encode({"type": "ping", "timestamp": at, "data": {"webhook_id": webhook_id}})


def webhook_secret(master: bytes, subject: str, generation: int) -> str:
    """The secret (whsec_...) of an endpoint, or of an organisation's per-run URLs: derived, never stored.

    subject is the endpoint's id, or the organisation's.
    """
    key = hmac.new(master, f"webhook:{subject}:{generation}".encode(), hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(key).decode()


def signed_headers(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of one try. at is when it is sent, in UTC: receivers refuse what is minutes old."""
    return {
        "content-type": "application/json",
        "user-agent": "ComfyFleet-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signer(secret).sign(message_id, at, body.decode()),
    }
