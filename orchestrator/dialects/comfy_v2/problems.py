"""Errors of the Comfy API v2: its envelope instead of problem+json, with its own codes."""

from __future__ import annotations

import math
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from orchestrator.dialects.comfy_v2.words import Envelope, Error
from orchestrator.errors import ApiProblem, FieldError
from orchestrator.store.db import DatabaseUnavailable


class NotImplementedHere(ApiProblem):
    """The API has this for a server on one's own machine only."""

    status, title, code = 501, "Not implemented", "not_implemented"


log = structlog.get_logger("comfy_v2")

OWN: Final = frozenset(
    {
        "invalid_workflow", "workflow_format_ui", "missing_asset", "idempotency_key_reuse", "metadata_invalid",
        "queue_full", "invalid_request", "invalid_metadata_filter", "invalid_cursor", "not_found", "hash_mismatch",
        "blob_not_found", "asset_in_use", "payload_too_large", "output_unavailable", "too_many_streams",
    }
)  # fmt: skip
"""Codes that the API defines, or that say more than the status."""
BY_CODE: Final = {
    "bad_cursor": "invalid_cursor",
    "invalid_graph": "invalid_workflow",
    "no_machine_can_run": "invalid_workflow",
    "bad_idempotency_key": "invalid_request",
    "node_forbidden": "invalid_workflow",
    "file_not_found": "not_found",
}
BY_STATUS: Final = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "payload_too_large",
    415: "invalid_request",
    416: "range_not_satisfiable",
    422: "invalid_request",
    429: "rate_limited",
    501: "not_implemented",
    503: "upstream_unreachable",
}


def code_of(status: int, code: str) -> str:
    """The API's code for one of ours."""
    if status == 429 and code == "quota_exceeded":
        return "queue_full"
    known = BY_CODE.get(code, code)
    return known if known in OWN else BY_STATUS.get(status, "upstream_error")


def details_of(code: str, errors: list[FieldError]) -> dict[str, Any] | None:
    """What a client gets besides the message: what is wrong with each node, or each field."""
    if not errors:
        return None
    if code != "invalid_workflow":
        return {"errors": [{"field": error.path, "reason": error.code, "message": error.message} for error in errors]}
    nodes: dict[str, list[dict[str, str]]] = {}
    for error in errors:
        node_id = error.path.removeprefix("nodes.").partition(".")[0] if error.path.startswith("nodes.") else ""
        found = {"field": error.path, "reason": error.code, "message": error.message}
        nodes.setdefault(node_id, []).append(found)
    return {"node_errors": nodes}


def _answer(
    status: int, code: str, message: str, details: dict[str, Any] | None, retry_after_s: float | None = None
) -> Response[Envelope]:
    headers = {"Cache-Control": "no-store"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="comfyfleet"'
    return Response(Envelope(Error(code, message, details)), status_code=status, headers=headers)


QUOTAS: Final = {403: (413, "payload_too_large"), 429: (429, "queue_full")}
"""What a full storage and a full queue are called."""


def on_problem(_request: Request[Any, Any, Any], error: ApiProblem) -> Response[Envelope]:
    """Ours."""
    status, code = _said(error)
    wait = error.retry_after_s
    if wait is None and status == 429:
        wait = 1.0
    return _answer(status, code, error.detail or error.title, details_of(code, error.errors), wait)


def _said(error: ApiProblem) -> tuple[int, str]:
    if error.code == "quota_exceeded":
        return QUOTAS[error.status]
    code = code_of(error.status, error.code)
    return (400 if code == "invalid_cursor" else error.status), code


def on_http_exception(_request: Request[Any, Any, Any], error: HTTPException) -> Response[Envelope]:
    """The framework's; a parameter that is wrong is a bad request here."""
    status = error.status_code
    return _answer(status, code_of(status, ""), error.detail, None)


def on_database_unavailable(_request: Request[Any, Any, Any], _error: DatabaseUnavailable) -> Response[Envelope]:
    """The same request may work in a moment."""
    return _answer(503, "upstream_unreachable", "the database cannot be reached now", None, 2.0)


def on_anything_else(request: Request[Any, Any, Any], error: Exception) -> Response[Envelope]:
    """A fault of ours: logged, and nothing of it told."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return _answer(500, "upstream_error", "an internal error", None)


HANDLERS: Final[dict[Any, Any]] = {
    ApiProblem: on_problem,
    HTTPException: on_http_exception,
    DatabaseUnavailable: on_database_unavailable,
    Exception: on_anything_else,
}
