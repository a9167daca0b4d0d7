"""What node packs bring besides node classes: routes, prompt handlers, files for the browser. It imports no pack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from comfy_core.packs.report import PackReport

log = structlog.get_logger()
PromptHandler = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the body of POST /prompt before it is validated and returns the one to go on with."""


@dataclass(slots=True)
class Additions:
    """Filled while packs are imported, read by the server. web: pack name -> the folder served for the browser."""

    routes: web.RouteTableDef = field(default_factory=web.RouteTableDef)
    on_prompt: list[PromptHandler] = field(default_factory=list)
    web: dict[str, str] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)
    reports: list[PackReport] = field(default_factory=list)

    def changed_by_handlers(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body as every prompt handler leaves it; one that raises is passed over with a line in the log."""
        for handler in self.on_prompt:
            try:
                body = handler(body)
            except Exception:
                log.exception("a pack's prompt handler failed", handler=getattr(handler, "__qualname__", repr(handler)))
        return body


def add_routes(app: web.Application, routes: Iterable[web.AbstractRouteDef]) -> None:
    """Add what packs registered, each with its twin under /api; a route that is taken is passed over with a line."""
    for route in routes:
        _add(app, route)
        if isinstance(route, web.RouteDef):
            _add(app, web.RouteDef(route.method, f"/api{route.path}", route.handler, route.kwargs))


def _add(app: web.Application, route: web.AbstractRouteDef) -> None:
    try:
        route.register(app.router)
    except (RuntimeError, ValueError) as error:
        log.warning("a pack's route is not added", route=repr(route), reason=str(error))
