"""Versions under /api/v1/versions: what one needs, takes and gives, and how it differs from another."""

from __future__ import annotations

from uuid import UUID

from litestar import Router, get

from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import NotFound
from orchestrator.live.parts import Parts
from orchestrator.wire import Compatibility


def absent(version_id: UUID) -> NotFound:
    """There is no such version, or it is another organisation's."""
    return NotFound(f"there is no version {version_id}", code="version_not_found")


@get(
    "/{version_id:uuid}/compatibility",
    guards=[requires("viewer", "workflows:read")],
    operation_id="get_compatibility",
    summary="Which machines can run a version",
    responses=documented(403, 404),
)
async def compatibility(version_id: UUID, principal: Principal, parts: Parts) -> Compatibility:
    """The version beside what every machine last said it has, in words and as data."""
    found = await parts.abilities.of_version(principal.organisation_id, str(version_id))
    if found is None:
        raise absent(version_id)
    return found


routes = [Router("/api/v1/versions", route_handlers=[compatibility], tags=["versions"])]
