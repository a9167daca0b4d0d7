"""Comfy API v2 under /api/v2, for Comfy's official clients: jobs and assets, as another wording of runs and files."""

from __future__ import annotations

from typing import Any, Final

from litestar import Router, get

from orchestrator.auth import PUBLIC
from orchestrator.dialects.comfy_v2 import assets, jobs
from orchestrator.dialects.comfy_v2.problems import HANDLERS
from orchestrator.dialects.comfy_v2.words import BASE

__all__ = ["routes"]

OPT: Final[dict[str, Any]] = {"request_id_header": "x-comfy-request-id", "own_idempotency": True}


@get("/health", opt=PUBLIC)
async def health() -> dict[str, str]:
    """Whether the API is there."""
    return {"status": "healthy"}


routes: Final = [
    Router(
        BASE,
        route_handlers=[health, *jobs.handlers, *assets.handlers],
        exception_handlers=HANDLERS,
        opt=OPT,
        include_in_schema=False,
    )
]
