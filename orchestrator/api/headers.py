"""What every answer says besides its own: how much of a limit is left, and what a browser may do with it.

An answer that sets one of these headers itself (the dashboard's pages, stored files) keeps its own.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.config.cors import CORSConfig
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import Scope

from orchestrator.api.problems import request_id_headers
from orchestrator.config import Config
from orchestrator.limits import Standing

_DEFAULTS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)
STANDARD: Final = {name.decode(): value.decode() for name, value in _DEFAULTS}
"""What an answer says that sets nothing itself."""
_HTTPS_ONLY: Final = (b"strict-transport-security", b"max-age=31536000")
READABLE: Final = [
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
]
ACCEPTED: Final = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "Traceparent",
    "X-Request-Id",
]


def completing(config: Config) -> Callable[[Any, Scope], Awaitable[None]]:
    """The `before_send` hook of an installation."""
    always = [_HTTPS_ONLY] if config.base_url.startswith("https://") else []

    async def complete(message: Any, scope: Scope) -> None:
        if message["type"] != "http.response.start":
            return
        headers = message.setdefault("headers", [])
        if scope["type"] == ScopeType.HTTP and scope["method"] == "OPTIONS":
            _name_methods(headers, scope)
        there = {name for name, _ in headers}
        headers += [pair for pair in _DEFAULTS if pair[0] not in there]
        headers += always
        headers += request_id_headers(scope)
        counted = scope.get("state", {}).get("rate_limit")
        if counted is not None:
            headers += rate_limit(*counted)

    return complete


def _name_methods(headers: list[tuple[bytes, bytes]], scope: Scope) -> None:
    """Litestar names those of the handler that a path had first; a path has handlers from several modules."""
    for place, (name, _) in enumerate(headers):
        if name.lower() == b"allow":
            path = scope.get("path_template")
            routes = [route for route in scope["litestar_app"].routes if isinstance(route, HTTPRoute)]
            methods = {
                method for route in routes if path in (route.path, route.path_format) for method in route.methods
            }
            if methods:
                headers[place] = (name, ", ".join(sorted(methods)).encode())


def rate_limit(policy: str, standing: Standing) -> list[tuple[bytes, bytes]]:
    """As draft-ietf-httpapi-ratelimit-headers-10 has it; one policy, named "requests"."""
    left = f'"requests";r={standing.remaining};t={math.ceil(standing.reset_s)}'
    return [(b"ratelimit-policy", f'"requests";{policy}'.encode()), (b"ratelimit", left.encode())]


def cors(config: Config) -> CORSConfig | None:
    """For pages of other origins, which get no cookies: only those that the installation names, none by default."""
    origins = [origin.strip().rstrip("/") for origin in config.cors_origins.split(",") if origin.strip()]
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
        allow_headers=ACCEPTED,
        expose_headers=READABLE,
        allow_credentials=False,
        max_age=600,
    )
