"""Every route of the application, what it asks of a credential and which page is about it, read from the routes.

The tables of routes in the documents are drawn from it and the permission matrix is tested by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from litestar import Litestar
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute
from msgspec import Struct

from orchestrator.api.open_routes import ANY_CREDENTIAL, PUBLIC
from orchestrator.auth import Requires, only_logins
from orchestrator.wire import Role

FRAMEWORK: Final = "/api/v1/schema"
"""Where the framework keeps its own pages of the API's description, out of the way."""
PAGES: Final = {
    "api.agent": "agents",
    "api.audit": "audit",
    "api.auth": "auth",
    "api.batches": "runs",
    "api.deployments": "deployments",
    "api.files": "files",
    "api.grants": "agents",
    "api.health": "README",
    "api.keys": "api-keys",
    "api.machine_care": "machines",
    "api.machine_secrets": "machines",
    "api.machines": "machines",
    "api.members": "members",
    "api.organisation": "organisation",
    "api.run_facts": "runs",
    "api.runs": "runs",
    "api.schema": "README",
    "api.shares": "shares",
    "api.transfer": "workflows",
    "api.uploads": "files",
    "api.usage": "usage",
    "api.versions": "workflows",
    "api.webhooks": "webhooks",
    "api.workflows": "workflows",
    "dashboard": "../dashboard",
    "dialects.comfy_v2": "comfy-v2",
    "dialects.comfydeploy": "comfydeploy",
    "dialects.comfyui": "comfyui",
    "dialects.comfyui.realtime": "realtime",
}
"""The page in docs/API that is about the routes of a module."""

_HEAD: Final = """# Every route and what it needs

Drawn from the program by `make docs`; do not edit. A credential needs the role or a higher one, and a key with scopes
the scope as well. "bound" marks what a key that is bound to deployments may use. Routes that say *public* need no
credential of a user, and those that say *any* take every valid one; the reason stands beside it.

| route | operation | role | scope | bound | page |
| --- | --- | --- | --- | --- | --- |
"""
_PART: Final = """| route | what it does | role | scope |
| --- | --- | --- | --- |
"""


class Entry(Struct, frozen=True):
    """A method of a path (`WS` for a WebSocket). role None: any credential, or none at all when public.

    reason: why it asks for no role or scope; page: the document about it, from docs/API, without its ending.
    """

    method: str
    path: str
    handler: BaseRouteHandler
    operation: str
    public: bool
    role: Role | None
    scopes: tuple[str, ...]
    bound: bool
    in_schema: bool
    reason: str
    page: str
    about: str

    @property
    def name(self) -> str:
        """Method and path, its parameters without their kinds."""
        return f"{self.method} {_plain(self.path)}"


def inventory(app: Litestar) -> list[Entry]:
    """All routes in order of path and method; what the framework adds by itself (OPTIONS, HEAD of a GET) left out."""
    found = [entry for entry in _entries(app) if not entry.path.startswith(FRAMEWORK)]
    return sorted(found, key=lambda entry: (entry.path, entry.method))


def _plain(path: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", r"{\1}", path).rstrip("/") or "/"


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
    asked: Requires | None = handler.opt.get("requires")
    operation = handler.operation_id if isinstance(handler, HTTPRouteHandler) else None
    return Entry(
        method,
        path,
        handler,
        str(operation or ""),
        bool(handler.opt.get("public")),
        asked.role if asked is not None else None,
        (asked.scope,) if asked is not None and asked.scope is not None else (),
        asked is not None and asked.bound,
        _in_schema(handler),
        _reason(f"{method} {_plain(path)}", handler),
        _page(path, handler),
        _about(handler),
    )


def _reason(name: str, handler: BaseRouteHandler) -> str:
    if only_logins in handler.resolve_guards() and name not in ANY_CREDENTIAL:
        return "for people who logged in"
    return PUBLIC.get(name) or ANY_CREDENTIAL.get(name) or ""


def _page(path: str, handler: BaseRouteHandler) -> str:
    """By the module, or the package it stands in; the framework serves the dashboard's static files."""
    if path.startswith("/dashboard/static"):
        return PAGES["dashboard"]
    name = handler.fn.__module__.removeprefix("orchestrator.")
    while name not in PAGES and "." in name:
        name = name.rpartition(".")[0]
    return PAGES.get(name, "")


def _about(handler: BaseRouteHandler) -> str:
    """The first sentences of what the handler says of itself."""
    text = (handler.fn.__doc__ or "").strip()
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def _in_schema(handler: Any) -> bool:
    return isinstance(handler, HTTPRouteHandler) and handler.resolve_include_in_schema()


def table(app: Litestar) -> str:
    """The page docs/API/routes.md."""
    return _HEAD + "".join(_row(entry) for entry in inventory(app))


def part(app: Litestar, page: str) -> str:
    """A table of the routes that a page is about, with what each does."""
    rows = [
        (f"`{entry.name}`", entry.about, _role(entry), _scope(entry)) for entry in inventory(app) if entry.page == page
    ]
    return _PART + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _role(entry: Entry) -> str:
    return "*public*" if entry.public else f"`{entry.role}`" if entry.role else "*any*"


def _scope(entry: Entry) -> str:
    return ", ".join(f"`{scope}`" for scope in entry.scopes) or entry.reason


def _row(entry: Entry) -> str:
    page = f"[{entry.page.rpartition('/')[2]}]({entry.page}.md)"
    cells = [f"`{entry.name}`", entry.operation, _role(entry), _scope(entry), "yes" if entry.bound else "", page]
    return f"| {' | '.join(cells)} |\n"
