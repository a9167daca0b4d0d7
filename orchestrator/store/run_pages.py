"""The list of runs and what narrows it. A filter that is not given is no condition, so that the plan fits the rest."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from orchestrator import wire
from orchestrator.store.db import Database
from orchestrator.store.runs import RUN, run_of

SLACK: Final = timedelta(hours=1)
"""Ids carry the application's clock and created_at the database's: so far apart they may be, for a bound by id."""


class Filters(Struct, frozen=True, kw_only=True):
    """What a run must be to be listed; None: anything. Ids are well-formed."""

    status: list[str] | None = None
    workflow_id: str | None = None
    version_id: str | None = None
    deployment_id: str | None = None
    deployment_ids: list[str] | None = None
    machine_id: str | None = None
    batch_id: str | None = None
    retry_of: str | None = None
    origin: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    favourite: bool | None = None
    tag: str | None = None
    metadata: dict[str, str] | None = None


_CONDITIONS: Final[dict[str, str]] = {
    "status": "r.status = any($::run_status[])",
    "workflow_id": "r.workflow_id = $",
    "version_id": "r.version_id = $",
    "deployment_id": "r.deployment_id = $",
    "deployment_ids": "r.deployment_id = any($::uuid[])",
    "machine_id": "r.machine_id = $",
    "batch_id": "r.batch_id = $",
    "retry_of": "r.retry_of = $",
    "origin": "r.origin = $",
    "created_after": "r.created_at >= $",
    "created_before": "r.created_at < $",
    "favourite": "coalesce(k.favourite, false) = $",
    "tag": "k.organisation_id = r.organisation_id and k.tags @> array[$]",
    "metadata": "r.metadata <> '{}' and r.metadata @> $",
}


async def page(db: Database, organisation_id: str, filters: Filters, before: UUID | None, limit: int) -> list[wire.Run]:
    """Runs, newest first, older than the run `before`."""
    conditions, values = ["r.organisation_id = $1"], [organisation_id]
    for name, value in _wanted(filters, before):
        values.append(value)
        conditions.append(_condition(name).replace("$", f"${len(values)}"))
    rows = await db.fetch(
        f"{RUN} where {' and '.join(conditions)} order by r.id desc limit ${len(values) + 1}", *values, limit
    )
    return [run_of(row) for row in rows]


def _condition(name: str) -> str:
    return {"before": "r.id < $", "after_id": "r.id >= $", "before_id": "r.id <= $"}.get(name) or _CONDITIONS[name]


def _wanted(filters: Filters, before: UUID | None) -> list[tuple[str, Any]]:
    """The conditions to set with their values; a time bounds the ids too, so that the index finds its place."""
    found = [(name, getattr(filters, name)) for name in _CONDITIONS if getattr(filters, name) is not None]
    if before is not None:
        found.append(("before", before))
    if filters.created_after is not None:
        found.append(("after_id", _id_at(filters.created_after - SLACK, 0)))
    if filters.created_before is not None:
        found.append(("before_id", _id_at(filters.created_before + SLACK, (1 << 80) - 1)))
    return found


def _id_at(moment: datetime, rest: int) -> UUID:
    """The smallest or largest id that begins with this time."""
    milliseconds = min(max(0, int(moment.timestamp() * 1000)), (1 << 48) - 1)
    return UUID(int=(milliseconds << 80) | rest)
