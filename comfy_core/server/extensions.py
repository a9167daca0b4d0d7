"""What node packs bring, over HTTP: scripts, translations, example workflows, and what became of each pack.

Scripts of the front end itself are listed first, as they are part of the same list for the browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from comfy_core.errors import InputRefused
from comfy_core.folders import inside
from comfy_core.packs import browser
from comfy_core.server.frontend import find
from comfy_core.server.state import STATE, State


async def listed(request: web.Request) -> web.Response:
    """The address of every script the front end is to load."""
    return web.json_response(await asyncio.to_thread(_scripts, request.app[STATE]))


def _scripts(state: State) -> list[str]:
    root = _of_front_end(state)
    own = browser.scripts({path.name: str(path) for path in sorted(root.iterdir()) if path.is_dir()}) if root else ()
    return [*own, *browser.scripts(state.additions.web)]


def _of_front_end(state: State) -> Path | None:
    root = find(state.settings.network.front_end)
    return root / "extensions" if root is not None and (root / "extensions").is_dir() else None


async def file(request: web.Request) -> web.StreamResponse:
    """One file of a pack's folder of scripts, or of the front end's own."""
    state, name = request.app[STATE], request.match_info["pack"]
    folder, own = state.additions.web.get(name), _of_front_end(state)
    try:
        root = Path(folder) if folder is not None else inside(own, name) if own is not None else None
        path = inside(root, request.match_info.get("path", "")) if root is not None else None
    except InputRefused as error:
        raise web.HTTPNotFound from error
    return _sent(path)


def _sent(path: Path | None) -> web.StreamResponse:
    if path is None or not path.exists():
        raise web.HTTPNotFound
    if not path.is_file():
        raise web.HTTPForbidden
    return web.FileResponse(path)


async def translations(request: web.Request) -> web.Response:
    """language -> texts, of all packs."""
    homes = list(request.app[STATE].additions.homes.values())
    return web.json_response(await asyncio.to_thread(browser.translations, homes))


async def templates(request: web.Request) -> web.Response:
    """pack -> names of its example workflows."""
    homes = dict(request.app[STATE].additions.homes)
    return web.json_response(await asyncio.to_thread(browser.templates, homes))


async def template(request: web.Request) -> web.StreamResponse:
    """One example workflow, or a picture beside it."""
    home = request.app[STATE].additions.homes.get(request.match_info["pack"])
    return _sent(None if home is None else browser.template_file(home, request.match_info["name"]))


async def packs(request: web.Request) -> web.Response:
    """Our own: every pack that was found, its nodes, and why it is not there or what it misses."""
    return web.json_response([pack.report.shown() for pack in request.app[STATE].additions.packs])


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/extensions", listed),
    ("GET", "/extensions/{pack}", file),
    ("GET", "/extensions/{pack}/{path:.*}", file),
    ("GET", "/i18n", translations),
    ("GET", "/workflow_templates", templates),
    ("GET", "/workflow_templates/{pack}/{name:.+}", template),
    ("GET", "/fleet/packs", packs),
)
