"""GET /openapi.json: the OpenAPI 3.1 description of everything under /api, made from the handlers."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, Request, Router, get
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from orchestrator.auth import PUBLIC


def openapi_config() -> OpenAPIConfig:
    """How the document is made. Its framework's own pages are tucked away: they would load scripts from a CDN."""
    return OpenAPIConfig(
        title="ComfyFleet",
        version="1",
        summary="Runs ComfyUI workflows on a team's own GPUs",
        openapi_router=Router("/api/v1/schema", route_handlers=[], opt=PUBLIC, include_in_schema=False, dto=None),
        render_plugins=[],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", description="An API key (cf_...) or an access token from /auth/login."
                )
            }
        ),
        security=[{"bearer": []}],
    )


def document(app: Litestar) -> bytes:
    """The document as indented JSON, the same bytes every time."""
    data = msgspec.json.encode(app.openapi_schema.to_schema(), order="deterministic")
    return msgspec.json.format(data, indent=2) + b"\n"


@get("/openapi.json", opt=PUBLIC, include_in_schema=False, media_type="application/json", cache=3600)
async def openapi(request: Request[Any, Any, State]) -> bytes:
    """The document."""
    return document(request.app)


routes = [openapi]
