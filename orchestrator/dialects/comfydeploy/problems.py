"""Errors in ComfyDeploy's words: `detail` for its second generation, `error` and `message` for its first.

A 422 names its fields as the published client expects them: `detail: [{loc, msg, type}]`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from orchestrator.errors import ApiProblem, FieldError
from orchestrator.store.db import DatabaseUnavailable

log = structlog.get_logger("comfydeploy")


class RunFailed(ApiProblem):
    """A run that was waited for ended badly."""

    status, title, code = 500, "The run failed", "run_failed"


def _answer(
    status: int, code: str, message: str, errors: list[FieldError], retry_after_s: float | None = None
) -> Response[dict[str, Any]]:
    detail: Any = message
    if status == 422:
        found = errors or [FieldError("", message)]
        detail = [{"loc": ["body", *_parts(one.path)], "msg": one.message, "type": one.code} for one in found]
    headers = {"Cache-Control": "no-store"}
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="comfyfleet"'
    body = {"detail": detail, "error": message, "message": message, "code": code}
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _parts(path: str) -> list[str]:
    return [part for part in path.split(".") if part]


def on_problem(_request: Request[Any, Any, Any], error: ApiProblem) -> Response[dict[str, Any]]:
    """Ours."""
    return _answer(error.status, error.code, error.detail or error.title, error.errors, error.retry_after_s)


def on_http_exception(_request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """The framework's; a wrong parameter is a wrong field."""
    if isinstance(error, ValidationException):
        extra = error.extra if isinstance(error.extra, list) else []
        found = [FieldError(str(one.get("key", "")), str(one.get("message", ""))) for one in extra]
        return _answer(422, "invalid", found[0].message if found else error.detail, found)
    return _answer(error.status_code, "http_error", error.detail, [])


def on_database_unavailable(_request: Request[Any, Any, Any], _error: DatabaseUnavailable) -> Response[dict[str, Any]]:
    """The same request may work in a moment."""
    return _answer(503, "database_unavailable", "the database cannot be reached now", [], 2.0)


def on_anything_else(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """A fault of ours: logged, and nothing of it told."""
    log.error("request failed", path=request.url.path, exc_info=error)
    return _answer(500, "internal", "an internal error", [])


HANDLERS: Final[dict[Any, Any]] = {
    ApiProblem: on_problem,
    HTTPException: on_http_exception,
    DatabaseUnavailable: on_database_unavailable,
    Exception: on_anything_else,
}
