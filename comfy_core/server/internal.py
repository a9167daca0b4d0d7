"""/internal: what only the front end asks for, such as the log and the folders. It changes nothing but who hears it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from comfy_core.errors import InputRefused
from comfy_core.log import JOURNAL
from comfy_core.server.state import STATE, read_object

TERMINAL = {"cols": 80, "rows": 24}


async def logs(request: web.Request) -> web.Response:
    """The last lines of the log, as one text."""
    return web.json_response("".join(f"{entry['t']} - {entry['m']}" for entry in JOURNAL.entries()))


async def raw_logs(request: web.Request) -> web.Response:
    """The same, line by line, and how wide a terminal they are made for."""
    return web.json_response({"entries": JOURNAL.entries(), "size": TERMINAL})


async def follow_logs(request: web.Request) -> web.Response:
    """Whether a client's socket is sent new lines."""
    body = await read_object(request)
    client_id = body.get("clientId")
    if not isinstance(client_id, str):
        raise web.HTTPBadRequest(text="clientId is not a text")
    request.app[STATE].hub.follow_log(client_id, bool(body.get("enabled")))
    return web.Response()


async def folder_paths(request: web.Request) -> web.Response:
    """The folders of each kind of model."""
    models = request.app[STATE].services.folders.models
    return web.json_response({kind: list(found[0]) for kind, found in models.items()})


async def files(request: web.Request) -> web.Response:
    """Names of the files in the input, output or temp folder, the newest first."""
    try:
        root = request.app[STATE].services.folders.of_kind(request.match_info["kind"])
    except InputRefused:
        return web.json_response({"error": "Invalid directory type"}, status=400)
    return web.json_response(await asyncio.to_thread(_newest, root))


def _newest(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    shown = [path for path in root.iterdir() if not path.name.startswith(".") and path.is_file()]
    return [path.name for path in sorted(shown, key=lambda path: path.stat().st_mtime, reverse=True)]
