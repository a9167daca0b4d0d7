"""What node packs bring besides node classes: routes, prompt handlers, files for the browser. It imports no pack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from comfy_core.packs.find import Pack

log = structlog.get_logger()
PromptHandler = Callable[[Any], Any]
"""Takes the body of POST /prompt before it is validated and returns the one to go on with."""


class Routes(web.RouteTableDef):
    """Routes that can be taken back."""

    def cut(self, length: int) -> None:
        """Keep the first so many."""
        del self._items[length:]


@dataclass(slots=True)
class Additions:
    """Filled while packs are imported, read by the server.

    web: name -> the folder of scripts served for the browser. homes: loaded pack -> its folder.
    """

    routes: Routes = field(default_factory=Routes)
    on_prompt: list[PromptHandler] = field(default_factory=list)
    web: dict[str, str] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)
    packs: list[Pack] = field(default_factory=list)

    def mark(self) -> tuple[int, int]:
        """Where things stand, for `back_to`."""
        return len(self.routes), len(self.on_prompt)

    def back_to(self, mark: tuple[int, int]) -> None:
        """Take back the routes and handlers that were registered since."""
        self.routes.cut(mark[0])
        del self.on_prompt[mark[1] :]

    def changed_by_handlers(self, body: Any) -> Any:
        """The body as every prompt handler leaves it; one that raises or gives no object is passed over."""
        for handler in self.on_prompt if isinstance(body, dict) else ():
            name = getattr(handler, "__qualname__", repr(handler))
            try:
                changed = handler(body)
            except Exception:
                log.exception("a pack's prompt handler failed", handler=name)
                continue
            if isinstance(changed, dict):
                body = changed
            else:
                log.warning("a pack's prompt handler gave no object", handler=name)
        return body


def add_routes(app: web.Application, routes: Iterable[web.AbstractRouteDef]) -> None:
    """Add what packs registered, each with its twin under /api; a route that is taken is passed over with a line."""
    for route in routes:
        _add(app, route)
        if isinstance(route, web.RouteDef):
            options = {key: value for key, value in route.kwargs.items() if key != "name"}  # a name is given once
            _add(app, web.RouteDef(route.method, f"/api{route.path}", route.handler, options))


def _add(app: web.Application, route: web.AbstractRouteDef) -> None:
    try:
        route.register(app.router)
    except (RuntimeError, ValueError) as error:
        log.warning("a pack's route is not added", route=repr(route), reason=str(error))
