"""Requests and answers of every route: the framework's own, with less work where most are alike.

A body that came whole is handed on as it is, and an answer of JSON goes out as it is. Whatever is not of that kind is
left to the framework. It knows no route.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any, Final, TypeVar

from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.serialization import encode_json, get_serializer
from litestar.types import Receive, Scope, Send

from orchestrator.auth import Principal
from orchestrator.errors import BadRequest, TooLarge
from orchestrator.scope import sent

T = TypeVar("T")
_BODY: Final = "body_that_came"
_JSON: Final = b"application/json"
_WITHOUT_BODY: Final = frozenset({204, 304})
_MORE: Final = ("background", "cookies", "encoded_headers", "is_head_response")


class Asked(Request[Principal, Any, State]):
    """A request. Its body is read once, however many ask for it."""

    async def body(self) -> bytes:
        """The whole body. Raises TooLarge; BadRequest when the caller went away before its end."""
        state: dict[str, Any] = self.scope.setdefault("state", {})
        known: bytes | None = state.get(_BODY)
        if known is None:
            known = state[_BODY] = await self._read()
        return known

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes, or as it was read. Raises TooLarge."""
        known: bytes | None = self.scope.setdefault("state", {}).get(_BODY)
        if known is not None:
            yield known
            return
        async for part in super().stream():
            yield part

    async def _read(self) -> bytes:
        most = self.route_handler.resolve_request_max_body_size() or math.inf
        announced = sent(self.scope, b"content-length") or "0"
        if announced.isdecimal() and int(announced) > most:  # the server sees to it that it is a number
            raise TooLarge(f"the body is larger than {most} bytes")
        parts, size, more = [], 0, True
        while more:
            message: Any = await self.receive()
            if message["type"] != "http.request":
                raise BadRequest("the caller went away before the end of the body")
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            more = message.get("more_body", False)
            if size > most:
                raise TooLarge(f"the body is larger than {most} bytes")
        return b"".join(parts)


class Answer(Response[T]):
    """An answer. One of JSON, without cookies, needs none of what the framework does for others."""

    def to_asgi_response(self, app: Any, request: Any, **told: Any) -> Any:
        """What sends it. told: what the route's decorator says; what the answer itself says comes first."""
        status = self.status_code or told.get("status_code") or 200
        kind = self.media_type or told.get("media_type") or MediaType.JSON
        if kind != MediaType.JSON or status in _WITHOUT_BODY or self._says_more(told):
            return super().to_asgi_response(app, request, **told)
        body = encode_json(self.content, get_serializer(told.get("type_encoders")))
        headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(body))]
        for name, value in {**(told.get("headers") or {}), **self.headers}.items():
            headers.append((name.lower().encode("latin-1"), str(value).encode("latin-1")))
        return _Ready(status, headers, body)

    def _says_more(self, told: dict[str, Any]) -> bool:
        own = self.cookies or self.background or self.response_type_encoders or isinstance(self.content, str | bytes)
        return bool(own or any(told.get(name) for name in _MORE))


class _Ready:
    """An answer in bytes."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
