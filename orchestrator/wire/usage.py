"""What an organisation uses, and how much it may."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from orchestrator.wire.base import Request


class Usage(Struct):
    """Sums of one day, deployment or key. name: the day, or the id; null: runs without a deployment, or without a key.

    machine_s is how long machines were taken up by attempts, from their claim to their end.
    """

    name: str | None
    runs: int
    succeeded: int
    attempts: int
    machine_s: float


class Storage(Struct):
    """What is stored now. Equal contents are kept once, and count as often as they are named."""

    bytes: int
    files: int


class StorageDay(Struct):
    """What was stored at the end of a day (UTC), or is now: of today."""

    day: str
    bytes: int
    files: int


class StorageReport(Struct):
    """Answer to GET /usage/storage: every day. byte_days sums the days' bytes, for whoever charges for keeping."""

    items: list[StorageDay]
    byte_days: int


class Quotas(Struct):
    """How much an organisation may have at once; null: anything."""

    max_queued_runs: int | None = None
    max_running_runs: int | None = None
    max_storage_bytes: int | None = None


class QuotasUpdate(Request):
    """Body of PUT /usage/quotas: every quota; null or left out: no bound."""

    max_queued_runs: Annotated[int, Meta(ge=0, le=10_000_000)] | None = None
    max_running_runs: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    max_storage_bytes: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class UsageReport(Struct):
    """Answer to GET /usage: sums in order of their names, their total, what is stored now, and the quotas."""

    items: list[Usage]
    total: Usage
    storage: Storage
    quotas: Quotas
