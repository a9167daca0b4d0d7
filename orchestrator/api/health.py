"""GET /health/live and /health/ready: is the process alive, can it serve."""

from __future__ import annotations

from litestar import get
from msgspec import Struct

from orchestrator.api.problems import documented
from orchestrator.auth import PUBLIC
from orchestrator.errors import Unavailable
from orchestrator.store.db import Database
from orchestrator.store.health import missing_migrations


class Health(Struct):
    """The answer of a healthy server."""

    status: str


@get("/health/live", opt=PUBLIC, operation_id="live", summary="The process answers", tags=["health"])
async def live() -> Health:
    """Always 200 while the process runs."""
    return Health("live")


@get(
    "/health/ready",
    opt=PUBLIC,
    operation_id="ready",
    summary="The server can take requests",
    tags=["health"],
    responses=documented(),
)
async def ready(db: Database) -> Health:
    """200 when the database answers and its schema is up to date; otherwise 503."""
    missing = await missing_migrations(db)
    if missing:
        raise Unavailable(f"migrations are missing: {', '.join(missing)}", code="migrations_missing")
    return Health("ready")


routes = [live, ready]
