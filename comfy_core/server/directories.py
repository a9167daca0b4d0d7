"""A prompt's own directory, from outside: requests that see it, and its end. It knows no files' contents."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from functools import wraps

from aiohttp import web

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders
from comfy_core.scope import scoped
from comfy_core.server.state import STATE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def in_its_directory(handler: Handler) -> Handler:
    """With `?directory=name` the handler sees the folders as the prompt with that directory does."""

    @wraps(handler)
    async def within(request: web.Request) -> web.StreamResponse:
        try:
            with scoped(request.query.get("directory")):
                return await handler(request)
        except InputRefused as error:
            raise web.HTTPBadRequest(text=str(error)) from error

    return within


async def remove(request: web.Request) -> web.Response:
    """Delete a directory in input, output and temp, and all in it. One that is not there is no error."""
    try:
        with scoped(request.match_info["directory"]):
            await asyncio.to_thread(_remove, request.app[STATE].services.folders)
    except InputRefused as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    return web.Response(status=204)


def _remove(folders: Folders) -> None:
    for folder in (folders.input, folders.output, folders.temp):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
