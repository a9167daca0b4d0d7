"""What a run shall be of: deployments by id or alias and versions, looked up many at a time. It decides nothing."""

from __future__ import annotations

from typing import Any, Literal

from asyncpg import Record
from msgspec import Struct

from orchestrator.store.db import Database


class Choice(Struct, frozen=True):
    """Another version that takes a share of a deployment's runs, in percent."""

    version_id: str
    percent: int
    inputs: list[dict[str, Any]]


class Target(Struct, frozen=True):
    """What a run is of: a version, and where the deployment (if any) lets it run. others take a share of its runs."""

    workflow_id: str
    version_id: str
    deployment_id: str | None
    machine_id: str | None
    pool: dict[str, str]
    inputs: list[dict[str, Any]]
    others: list[Choice] = []


class Wanted(Struct, frozen=True):
    """A look-up of what a run shall be of; ids are well-formed. A deployment's alias stands in the place of its id."""

    organisation_id: str
    id: str
    kind: Literal["deployment", "version", "alias"]


async def targets(db: Database, wanted: list[Wanted]) -> list[Target | None]:
    """The live deployments' or versions' targets, in order; None where the organisation has no such thing."""
    once = list(dict.fromkeys(wanted))  # many runs that are started together are of the same thing
    found = dict(zip(once, await _found(db, once), strict=True))
    return [found[one] for one in wanted]


async def _found(db: Database, wanted: list[Wanted]) -> list[Target | None]:
    rows = await db.fetch(
        """
        with named as (
          select w.place, d.* from unnest($1::int[], $2::uuid[], $3::uuid[]) as w(place, organisation_id, id)
          join deployments d on d.id = w.id and d.organisation_id = w.organisation_id and d.deleted_at is null
          union all
          select w.place, d.* from unnest($7::int[], $8::uuid[], $9::text[]) as w(place, organisation_id, alias)
          join deployments d on d.alias = w.alias and d.organisation_id = w.organisation_id and d.deleted_at is null
        )
        select d.place, d.workflow_id, v.id as version_id, d.id as deployment_id, d.machine_id, d.pool,
               v.requirements -> 'inputs' as inputs, null::int as percent
        from named d join workflow_versions v on v.id = d.version_id
        union all
        select d.place, d.workflow_id, v.id, d.id, d.machine_id, d.pool, v.requirements -> 'inputs', x.percent
        from named d cross join jsonb_to_recordset(d.split) as x(version_id uuid, percent int)
        join workflow_versions v on v.id = x.version_id
        union all
        select w.place, v.workflow_id, v.id, null, null, '{}', v.requirements -> 'inputs', null
        from unnest($4::int[], $5::uuid[], $6::uuid[]) as w(place, organisation_id, id)
        join workflow_versions v on v.id = w.id and v.organisation_id = w.organisation_id and v.deleted_at is null
        join workflows f on f.id = v.workflow_id and f.deleted_at is null
        """,
        *_columns(wanted, "deployment"),
        *_columns(wanted, "version"),
        *_columns(wanted, "alias"),
    )
    others: dict[int, list[Choice]] = {}
    for row in rows:
        if row["percent"] is not None:
            choice = Choice(str(row["version_id"]), row["percent"], row["inputs"] or [])
            others.setdefault(row["place"], []).append(choice)
    found = {row["place"]: _target(row, others) for row in rows if row["percent"] is None}
    return [found.get(place) for place in range(len(wanted))]


def _columns(wanted: list[Wanted], kind: str) -> tuple[list[int], list[str], list[str]]:
    chosen = [(place, one) for place, one in enumerate(wanted) if one.kind == kind]
    return [place for place, _ in chosen], [one.organisation_id for _, one in chosen], [one.id for _, one in chosen]


def _target(row: Record, others: dict[int, list[Choice]]) -> Target:
    return Target(
        workflow_id=str(row["workflow_id"]),
        version_id=str(row["version_id"]),
        deployment_id=_text(row["deployment_id"]),
        machine_id=_text(row["machine_id"]),
        pool=row["pool"],
        inputs=row["inputs"] or [],
        others=sorted(others.get(row["place"], []), key=lambda other: other.version_id),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
