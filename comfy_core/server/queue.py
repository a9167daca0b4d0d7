"""/queue and /history: what waits, runs and is done."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from comfy_core.server.hub import dumps
from comfy_core.server.state import STATE, read_object

LONGEST_NUMBER = 18


async def get_queue(request: web.Request) -> web.Response:
    """Running and waiting prompts."""
    return web.json_response(request.app[STATE].queue.shown())


async def post_queue(request: web.Request) -> web.Response:
    """Take waiting prompts out: all, or those named."""
    body = await read_object(request)
    queue = request.app[STATE].queue
    if body.get("clear"):
        queue.clear()
    queue.delete(_names(body))
    return web.Response()


async def get_history(request: web.Request) -> web.Response:
    """A window of the history."""
    most, offset = _whole(request, "max_items"), _whole(request, "offset")
    text = request.app[STATE].history.window_text(most, -1 if offset is None else offset)
    return web.Response(body=text, content_type="application/json", charset="utf-8")


async def get_history_of(request: web.Request) -> web.Response:
    """One prompt's entry, or an empty object."""
    return web.json_response(request.app[STATE].history.get(request.match_info["prompt_id"]), dumps=dumps)


async def post_history(request: web.Request) -> web.Response:
    """Forget entries: all, or those named."""
    body = await read_object(request)
    history = request.app[STATE].history
    if body.get("clear"):
        history.clear()
    history.delete(_names(body))
    return web.Response()


def _names(body: dict[str, Any]) -> list[Any]:
    named = body.get("delete") or []
    if not isinstance(named, list):
        raise web.HTTPBadRequest(text="delete is not a list of prompt ids")
    return named


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.removeprefix("-").isdecimal() or len(text) > LONGEST_NUMBER:
        raise web.HTTPBadRequest(text=f"{name} is not a whole number")
    return int(text)
