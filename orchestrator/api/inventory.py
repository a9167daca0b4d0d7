"""Every route of the application and what it asks of a credential, read from the routes themselves.

The table in docs/API/routes.md is drawn from it and the permission matrix is tested by it. It knows no resource.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from litestar import Litestar
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute
from msgspec import Struct

from orchestrator.auth import Requires
from orchestrator.runs.access import RANK
from orchestrator.wire import Role

_HEAD: Final = """# Every route and what it needs

Drawn from the program by `make docs`; do not edit. A credential needs the role or a higher one, and a key with scopes
the scope as well. "bound" marks what a key that is bound to deployments may use. Routes that say *public* need no
credential of a user: what they ask for instead stands on the page of their resource. The dashboard's pages are left
out.

| route | operation | role | scope | bound |
| --- | --- | --- | --- | --- |
"""


class Entry(Struct, frozen=True):
    """A method of a path (`WS` for a WebSocket). role None: any credential, or none at all when public."""

    method: str
    path: str
    handler: BaseRouteHandler
    operation: str
    public: bool
    role: Role | None
    scopes: tuple[str, ...]
    bound: bool
    in_schema: bool


def inventory(app: Litestar) -> list[Entry]:
    """All routes in order of path and method; what the framework adds by itself (OPTIONS, HEAD of a GET) left out."""
    return sorted(_entries(app), key=lambda entry: (entry.path, entry.method))


def _entries(app: Litestar) -> Iterator[Entry]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                methods = sorted(str(method) for method in handler.http_methods)
                yield from (_entry(method, route.path_format, handler) for method in methods if method != "OPTIONS")
        elif isinstance(route, WebSocketRoute):
            yield _entry("WS", route.path_format, route.route_handler)
        elif isinstance(route, ASGIRoute):
            yield _entry("GET", route.path_format, route.route_handler)


def _entry(method: str, path: str, handler: BaseRouteHandler) -> Entry:
    guards = [guard for guard in handler.resolve_guards() if isinstance(guard, Requires)]
    scopes = tuple(guard.scope for guard in guards if guard.scope is not None)
    operation = handler.operation_id if isinstance(handler, HTTPRouteHandler) else None
    return Entry(
        method,
        path,
        handler,
        str(operation or ""),
        bool(handler.opt.get("public")),
        max(guards, key=lambda guard: RANK[guard.role]).role if guards else None,
        scopes,
        bool(scopes) and all(guard.bound for guard in guards if guard.scope is not None),
        _in_schema(handler),
    )


def _in_schema(handler: Any) -> bool:
    return isinstance(handler, HTTPRouteHandler) and handler.resolve_include_in_schema()


def table(app: Litestar) -> str:
    """The page docs/API/routes.md."""
    return _HEAD + "".join(_row(entry) for entry in inventory(app) if entry.in_schema or entry.method == "WS")


def _row(entry: Entry) -> str:
    role = "*public*" if entry.public else f"`{entry.role}`" if entry.role else "any"
    scopes = ", ".join(f"`{scope}`" for scope in entry.scopes)
    cells = [f"`{entry.method} {entry.path}`", entry.operation, role, scopes, "yes" if entry.bound else ""]
    return f"| {' | '.join(cells)} |\n"
