"""Webhook endpoints, what is sent to them, and how it went."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Request, RunStatus
from orchestrator.wire.runs import Run

WebhookEvent = Literal[
    "run.updated", "run.ended", "run.output", "run.queued", "run.started", "run.running", "run.uploading",
    "run.success", "run.failed", "run.timeout", "run.cancelled", "run.not-started",
]  # fmt: skip


class WebhookCreate(Request):
    """Body of POST /webhooks. events: run.updated is every change of status, run.<status> one of them."""

    url: Annotated[str, Meta(min_length=8, max_length=2000)]
    events: list[WebhookEvent] = field(default_factory=lambda: ["run.ended"])


class WebhookUpdate(Request):
    """Body of PATCH /webhooks/{id}: what is left out stays."""

    url: Annotated[str, Meta(min_length=8, max_length=2000)] | None = None
    events: list[WebhookEvent] | None = None


class Replayed(Struct):
    """How many dead messages are sent again; more: there are others yet, call once more."""

    replayed: int
    more: bool


class DeliveryTry(Struct, omit_defaults=True):
    """One try to send a message, and what came back."""

    id: str
    at: datetime
    url: str
    duration_ms: int
    response_code: int | None = None
    error: str | None = None


class Webhook(Struct, omit_defaults=True):
    """An endpoint. secret (whsec_...) is present only in the answer that made or rotated it."""

    id: str
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    secret: str | None = None


class Delivery(Struct, omit_defaults=True):
    """One message and how its delivery stands."""

    id: str
    run_id: str
    event_type: str
    status: RunStatus
    url: str
    state: Literal["pending", "delivered", "dead"]
    tries: int
    created_at: datetime
    webhook_id: str | None = None
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    response_code: int | None = None
    error: str | None = None


class WebhookTest(Struct, omit_defaults=True):
    """What came of a test message. response_code is absent when no response came; error says what went wrong."""

    delivered: bool
    duration_ms: int
    response_code: int | None = None
    error: str | None = None


class WebhookSecret(Struct):
    """A signing secret (whsec_...)."""

    secret: str


class WebhookMessage(Struct, omit_defaults=True):
    """What a webhook receives, signed as Standard Webhooks has it."""

    type: str
    timestamp: datetime
    data: Run
