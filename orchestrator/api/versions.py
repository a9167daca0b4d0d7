"""Versions under /api/v1/versions: what one needs, takes and gives, and how it differs from another."""

from __future__ import annotations

from uuid import UUID

from litestar import Router, get

from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import NotFound
from orchestrator.live.parts import Parts
from orchestrator.runs.diff import diff as difference
from orchestrator.runs.requirements import Requirements
from orchestrator.runs.schema import inputs_schema, outputs_schema
from orchestrator.store import versions
from orchestrator.store.db import Database
from orchestrator.store.versions import Whole
from orchestrator.wire import Compatibility, VersionDiff, VersionSchema


def _absent(version_id: UUID) -> NotFound:
    return NotFound(f"there is no version {version_id}", code="version_not_found")


async def _found(db: Database, principal: Principal, version_id: UUID) -> Whole:
    found = await versions.by_id(db, principal.organisation_id, version_id)
    if found is None:
        raise _absent(version_id)
    return found


@get(
    "/{version_id:uuid}/compatibility",
    opt=requires("viewer", "workflows:read"),
    operation_id="get_compatibility",
    summary="Which machines can run a version",
    responses=documented(403, 404),
)
async def compatibility(version_id: UUID, principal: Principal, parts: Parts) -> Compatibility:
    """The version beside what every machine last said it has, in words and as data."""
    found = await parts.abilities.of_version(principal.organisation_id, str(version_id))
    if found is None:
        raise _absent(version_id)
    return found


@get(
    "/{version_id:uuid}/schema",
    opt=requires("viewer", "workflows:read"),
    operation_id="get_version_schema",
    summary="What a version takes and gives, as JSON Schema",
    responses=documented(403, 404),
)
async def schema(version_id: UUID, principal: Principal, db: Database) -> VersionSchema:
    """Derived from its external nodes: the `inputs` of a run, and the `outputs` of one that has succeeded."""
    needs = (await _found(db, principal, version_id)).requirements
    return VersionSchema(str(version_id), inputs_schema(needs.inputs), outputs_schema(needs.outputs))


@get(
    "/{version_id:uuid}/diff",
    opt=requires("viewer", "workflows:read"),
    operation_id="diff_versions",
    summary="How a version differs from another",
    responses=documented(400, 403, 404),
)
async def diff(version_id: UUID, principal: Principal, db: Database, against: UUID | None = None) -> VersionDiff:
    """What has to be done to the version `against` to get this one; left out: to the one before it.

    They may be of different workflows. Before the first version there was nothing.
    """
    after = await _found(db, principal, version_id)
    if against is None:
        before = await versions.one_before(db, principal.organisation_id, after)
    else:
        before = await _found(db, principal, against)
    graph, needs = ({}, Requirements()) if before is None else (before.api_graph, before.requirements)
    return difference(graph, after.api_graph, needs, after.requirements)


routes = [Router("/api/v1/versions", route_handlers=[compatibility, schema, diff], tags=["versions"])]
