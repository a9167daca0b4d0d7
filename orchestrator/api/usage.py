"""Usage and quotas under /api/v1/usage: what the organisation used, has stored, and how much it may."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from litestar import Router, get, put
from litestar.params import Parameter, QueryParameter

from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.config import Config, counted_names
from orchestrator.errors import FieldError, Invalid
from orchestrator.live.parts import Parts
from orchestrator.store import usage as store
from orchestrator.store.db import Database
from orchestrator.wire import Quotas, QuotasUpdate, StorageReport, Usage, UsageReport

MOST_DAYS: Final = 366
DAYS: Final = 30

From = Annotated[
    date | None, QueryParameter(name="from", description="The first day, in UTC; 30 days ago when left out.")
]
To = Annotated[date | None, QueryParameter(name="to", description="The last day, in UTC; today when left out.")]
Sums = Annotated[store.By, Parameter(description="What a sum is made of.")]
Described = Annotated[
    str | None,
    Parameter(max_length=64, description="In place of `by`: sums by what runs have under this name of their metadata."),
]


@get(
    operation_id="get_usage",
    summary="What was used",
    opt=requires("viewer", "usage:read"),
    responses=documented(400, 403),
)
async def get_usage(
    principal: Principal,
    db: Database,
    config: Config,
    first: From = None,
    last: To = None,
    by: Sums = "day",
    deployment_id: UUID | None = None,
    api_key_id: UUID | None = None,
    metadata: Described = None,
) -> UsageReport:
    """Runs that ended and the time machines were taken up by them, by day, deployment or key; what is stored now."""
    first, last = _span(first, last)
    organisation_id = principal.organisation_id
    if metadata is None:
        narrowed = {"deployment_id": deployment_id, "api_key_id": api_key_id}
        items = await store.usage(db, organisation_id, first, last, by, **narrowed)
    else:
        _check_metadata(metadata, config, alone=deployment_id is None and api_key_id is None)
        items = await store.by_metadata(db, organisation_id, first, last, metadata)
    stored = await store.storage(db, organisation_id)
    return UsageReport(items, _total(items), stored, await store.quotas(db, organisation_id))


def _check_metadata(name: str, config: Config, *, alone: bool) -> None:
    """Raise Invalid for a name that is not counted, and for sums that are not kept."""
    counted = counted_names(config.usage_metadata)
    if name not in counted:
        detail = f"is not counted here; counted (FLEET_USAGE_METADATA): {', '.join(counted) or 'nothing'}"
        raise Invalid(f"metadata {detail}", errors=[FieldError("metadata", detail)])
    if not alone:
        detail = "sums by metadata are kept for all deployments and keys together"
        raise Invalid(f"metadata: {detail}", errors=[FieldError("metadata", detail)])


def _span(first: date | None, last: date | None) -> tuple[date, date]:
    """The days that are asked for. Raises Invalid."""
    last = last or datetime.now(UTC).date()
    if last.year <= 1970:
        raise Invalid("to: is too far away", errors=[FieldError("to", "give a year from 1971")])
    first = first or last - timedelta(days=DAYS - 1)
    if not timedelta(0) <= last - first < timedelta(days=MOST_DAYS):
        detail = f"must not be after `to`, and at most {MOST_DAYS} days before it"
        raise Invalid(f"from: {detail}", errors=[FieldError("from", detail)])
    return first, last


@get(
    "/storage",
    operation_id="get_storage",
    summary="What was stored, day by day",
    opt=requires("viewer", "usage:read"),
    responses=documented(400, 403),
)
async def get_storage(principal: Principal, db: Database, first: From = None, last: To = None) -> StorageReport:
    """What was kept at the end of each day, and now for today; days to come are left out."""
    days = await store.storage_days(db, principal.organisation_id, *_span(first, last))
    return StorageReport(days, sum(day.bytes for day in days))


def _total(items: list[Usage]) -> Usage:
    return Usage(
        None,
        sum(item.runs for item in items),
        sum(item.succeeded for item in items),
        sum(item.attempts for item in items),
        sum(item.machine_s for item in items),
    )


@put(
    "/quotas",
    operation_id="set_quotas",
    summary="Set the quotas",
    opt=requires("owner", "usage:write"),
    responses=documented(400, 403),
)
async def set_quotas(data: QuotasUpdate, principal: Principal, parts: Parts) -> Quotas:
    """All of them at once; null or left out lifts one. They hold at once here, within seconds on other replicas."""
    await store.set_quotas(parts.db, principal.organisation_id, data, principal.actor)
    parts.queue.quotas.forget(principal.organisation_id)
    return await store.quotas(parts.db, principal.organisation_id)


routes = [Router("/api/v1/usage", route_handlers=[get_usage, get_storage, set_quotas], tags=["usage"])]
