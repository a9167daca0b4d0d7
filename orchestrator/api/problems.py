"""Bodies in and errors out: one decoder for every JSON body, one map from exceptions to problem+json (RFC 9457).

It knows no resource. Texts may change; `code` and the status do not.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Generator
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.dto import AbstractDTO
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec
from litestar.types import Scope
from litestar.typing import FieldDefinition

from orchestrator.errors import (
    ApiProblem,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    Problem,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
    WrongType,
)
from orchestrator.scope import sent
from orchestrator.store.db import DatabaseUnavailable
from orchestrator.store.ids import new_id

log = structlog.get_logger("api")

MEDIA_TYPE: Final = "application/problem+json"
TYPE_BASE: Final = "https://comfyfleet.dev/problems/"
T = TypeVar("T")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_AT = re.compile(r"^(?P<message>.*?)(?: - at `(?P<key>key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DATABASE_BACK_S: Final = 2.0
DEEPEST: Final = 200
"""How deep a JSON body may be nested."""

_BY_STATUS: Final[dict[int, type[ApiProblem]]] = {
    kind.status: kind
    for kind in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        Gone,
        PreconditionFailed,
        TooLarge,
        WrongType,
        Invalid,
        TooMany,
        Unavailable,
    )
}


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The `responses` of a handler: these error statuses, each a Problem."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=_BY_STATUS[status].title,
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({401, 422, 503, *statuses})
    }


def request_id(scope: Scope) -> str:
    """The id of this request: the caller's X-Request-Id when it is sane, or a new one."""
    state: dict[str, Any] = scope.setdefault("state", {})
    known = state.get("request_id")
    if known is None:
        text = sent(scope, b"x-request-id") or ""
        known = state["request_id"] = text if _REQUEST_ID.fullmatch(text) else new_id()
    return str(known)


def request_id_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Every answer carries the id of its request."""
    known = request_id(scope).encode("latin-1")
    other: str | None = getattr(scope.get("route_handler"), "opt", {}).get("request_id_header")
    return [(b"x-request-id", known), *([(other.encode(), known)] if other else [])]


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    """The hook of one JSON object: the same name does not stand twice in it."""
    if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise BadRequest(f"the name {twice!r} stands twice in one object", code="duplicate_key")


_NAMES: Final = json.JSONDecoder(object_pairs_hook=_refuse_twice)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A JSON body as its Struct. Raises BadRequest (not JSON), Invalid (JSON, but not what is asked for)."""
    _refuse_depth(body)
    try:
        value = decoder.decode(body)
        _NAMES.decode(body.decode())
    except msgspec.ValidationError as error:
        # It stopped at the first wrong field; what follows may not even be JSON.
        _refuse_malformed(body)
        raise invalid(str(error)) from error
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply", code="malformed_json") from error
    except ValueError as error:
        raise BadRequest(str(error), code="malformed_json") from error
    if _NUL.search(body):
        raise Invalid("the character U+0000 cannot be stored", errors=[FieldError("", "contains U+0000")])
    return value


def _refuse_malformed(body: bytes) -> None:
    try:
        msgspec.json.decode(body)
        _NAMES.decode(body.decode())
    except ValueError as error:
        raise BadRequest(str(error), code="malformed_json") from error


def _refuse_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            raise BadRequest(f"the JSON is nested more than {DEEPEST} deep", code="malformed_json")


def invalid(message: str) -> Invalid:
    """msgspec's message as a problem that names the field."""
    match = _AT.match(message)
    assert match is not None
    text, path = match["message"], (match["path"] or "").lstrip(".")
    unknown, missing = _UNKNOWN.fullmatch(text), _MISSING.fullmatch(text)
    if unknown:
        path, code = _joined(path, unknown["name"]), "unknown_field"
    elif missing:
        path, code = _joined(path, missing["name"]), "missing_field"
    else:
        code = "invalid"
    detail = f"{path}: {text}" if path else text
    errors = [FieldError(path, text, code)]
    return Invalid(detail, code="unknown_field" if unknown else "invalid", errors=errors)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class JsonBody(AbstractDTO[Any]):
    """Decodes every handler's `data` straight into its Struct: strict, unknown fields refused."""

    model_type = object
    _decoders: ClassVar[dict[str, msgspec.json.Decoder[Any]]] = {}
    _of_handlers: ClassVar[dict[Any, msgspec.json.Decoder[Any]]] = {}  # a handler works its id out anew each time

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Make the handler's decoder once."""
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.annotation)

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        """The Struct's own schema."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Nothing: there is no transfer model."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Never: there is no transfer model."""
        return False

    def decode_bytes(self, value: bytes) -> Any:
        """The handler's `data`."""
        handler = self.asgi_connection.route_handler
        decoder = self._of_handlers.get(handler)
        if decoder is None:
            decoder = self._of_handlers[handler] = self._decoders[handler.handler_id]
        return decode(value, decoder)


async def check_body(request: Request[Any, Any, State]) -> None:
    """A `before_request` hook: where a JSON body is expected, one must stand, and say that it is JSON."""
    if request.route_handler.parsed_data_field is None:
        return
    kind = (sent(request.scope, b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise WrongType(f"the body must be application/json, not {kind[:100]!r}")
    if not await request.body():
        raise BadRequest("a JSON body is needed", code="malformed_json")


def _answer(request: Request[Any, Any, Any], problem: ApiProblem) -> Response[Problem]:
    code = problem.code
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_s)))
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="comfyfleet"'
    body = Problem(
        type=TYPE_BASE + code,
        title=problem.title,
        status=problem.status,
        code=code,
        detail=problem.detail,
        instance=request.url.path,
        request_id=request_id(request.scope),
        errors=problem.errors,
    )
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def on_problem(request: Request[Any, Any, Any], error: ApiProblem) -> Response[Problem]:
    """Ours: answered as it is."""
    return _answer(request, error)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """The framework's: routing, sizes, query parameters."""
    if isinstance(error, ValidationException):
        return _answer(request, _bad_parameters(error))
    kind = _BY_STATUS.get(error.status_code)
    if kind is not None:
        return _answer(request, kind(error.detail))
    problem = ApiProblem(error.detail, code="method_not_allowed" if error.status_code == 405 else "http_error")
    problem.status, problem.title = error.status_code, "Not possible here"
    answer = _answer(request, problem)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _bad_parameters(error: ValidationException) -> ApiProblem:
    extra = error.extra if isinstance(error.extra, list) else []
    errors = [FieldError(str(item.get("key", "")), str(item.get("message", ""))) for item in extra]
    return Invalid("; ".join(f"{item.path}: {item.message}" for item in errors) or error.detail, errors=errors)


def on_database_unavailable(request: Request[Any, Any, Any], error: DatabaseUnavailable) -> Response[Problem]:
    """The database is away: the same request may work in a moment."""
    log.warning("database unavailable", request_id=request_id(request.scope), error=str(error))
    problem = Unavailable("the database cannot be reached now", code="database_unavailable")
    problem.retry_after_s = _DATABASE_BACK_S
    return _answer(request, problem)


def on_anything_else(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """A fault of ours: logged with the request's id, and nothing of it told."""
    log.error("request failed", request_id=request_id(request.scope), path=request.url.path, exc_info=error)
    return _answer(request, ApiProblem("an internal error; give the request id when you report it"))


HANDLERS: Final[dict[Any, Any]] = {
    ApiProblem: on_problem,
    HTTPException: on_http_exception,
    DatabaseUnavailable: on_database_unavailable,
    Exception: on_anything_else,
}
