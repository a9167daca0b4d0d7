"""GET /openapi.json: the OpenAPI 3.1 description of everything under /api, made from the handlers."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Router, get
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from drivers.wire import EnrolRequest, GrantRequest, UpdateRun
from orchestrator import wire
from orchestrator.auth import PUBLIC

_PAGE_NAME: Final = re.compile(rb'Page_orchestrator\.wire\.(\w+?)_(?=")')
_EXPORT: Final = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/WorkflowExport"}},
        "application/zip": {"schema": {"type": "string", "contentMediaType": "application/zip"}},
    },
}
_MULTIPART: Final = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
                "required": ["file"],
            }
        }
    },
}


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
    schema = app.openapi_schema.to_schema()
    _forbid_unknown_fields(schema["components"]["schemas"])
    operations = [item for path in schema["paths"].values() for item in path.values() if isinstance(item, dict)]
    _mark_public(operations, _public_operations(app))
    _drop_foreign_errors(operations)
    schema["paths"]["/api/v1/files"]["post"]["requestBody"] = _MULTIPART
    schema["paths"]["/api/v1/workflows/import"]["post"]["requestBody"] = _EXPORT
    data = _PAGE_NAME.sub(rb"PageOf\1", msgspec.json.encode(schema, order="deterministic"))
    return msgspec.json.format(data, indent=2) + b"\n"


def _forbid_unknown_fields(schemas: dict[str, Any]) -> None:
    """Say of request bodies that they refuse unknown fields, which the framework leaves out."""
    strict: list[type] = [UpdateRun, GrantRequest, EnrolRequest]
    bases: list[type] = [wire.Request]
    while bases:
        below: list[type] = bases.pop().__subclasses__()
        strict += below
        bases += below
    for name in {struct.__name__ for struct in strict} & set(schemas):
        schemas[name]["additionalProperties"] = False


def _public_operations(app: Litestar) -> set[str]:
    handlers = [handler for route in app.routes for handler in getattr(route, "route_handlers", [])]
    return {str(handler.operation_id) for handler in handlers if handler.opt.get("public")}


def _mark_public(operations: list[dict[str, Any]], public: set[str]) -> None:
    for operation in operations:
        if operation.get("operationId") in public:
            operation["security"] = []


def _drop_foreign_errors(operations: list[dict[str, Any]]) -> None:
    """Take out the framework's own shape of a 400, which nobody ever gets."""
    for operation in operations:
        responses = operation.get("responses", {})
        if "application/json" in responses.get("400", {}).get("content", {}):
            del responses["400"]


@get("/openapi.json", opt=PUBLIC, include_in_schema=False, media_type="application/json", cache=3600)
async def openapi(request: Request[Any, Any, State]) -> bytes:
    """The document."""
    return document(request.app)


routes = [openapi]
