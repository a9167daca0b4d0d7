"""Webhook endpoints, what is sent to them, and how it went."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Request, RunStatus
from orchestrator.wire.runs import Run


class WebhookCreate(Request):
    """Body of POST /webhooks."""

    url: Annotated[str, Meta(min_length=8, max_length=2000)]
    events: list[Literal["run.updated", "run.ended"]] = field(default_factory=lambda: ["run.ended"])


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
