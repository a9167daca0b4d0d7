"""/view: files out, whole or as a smaller or reduced picture. Every name stays inside its folder."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path

from aiohttp import hdrs, web
from PIL import Image, UnidentifiedImageError

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders, annotated, inside
from comfy_core.server.pictures import channels, preview
from comfy_core.server.state import STATE

ACTIVE = {
    "text/html",
    "text/html-sandboxed",
    "application/xhtml+xml",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "text/css",
}
REDUCED = ("rgb", "a")
INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""An SVG may be shown as a picture, but no script in it runs."""


async def view(request: web.Request) -> web.StreamResponse:
    """A file's bytes, or a smaller preview, or some of its channels."""
    path = _wanted(request.app[STATE].services.folders, request)
    headers: dict[str, str] = {hdrs.CONTENT_DISPOSITION: f'filename="{_quoted(path.name)}"'}
    asked, channel = request.query.get("preview"), request.query.get("channel", "rgba")
    if asked is None and channel not in REDUCED:
        return web.FileResponse(path, headers=headers | _as_it_is(path))
    work = (channels, path, channel) if asked is None else (preview, path, asked, channel)
    try:
        body, content_type = await asyncio.to_thread(*work)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise web.HTTPBadRequest(text="the file is not an image that can be shown") from error
    return web.Response(body=body, content_type=content_type, headers=headers)


def _as_it_is(path: Path) -> dict[str, str]:
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if content_type in ACTIVE:
        content_type = "application/octet-stream"
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: content_type, "X-Content-Type-Options": "nosniff"}
    return headers | {"Content-Security-Policy": INERT} if content_type == "image/svg+xml" else headers


def _wanted(folders: Folders, request: web.Request) -> Path:
    if "filename" not in request.query:
        raise web.HTTPNotFound
    name, kind = annotated(request.query["filename"], request.query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name:
        raise web.HTTPBadRequest
    try:
        root = folders.of_kind(kind)
    except InputRefused as error:
        raise web.HTTPBadRequest from error
    try:
        path = inside(inside(root, request.query.get("subfolder", "")), Path(name).name)
        if path.is_file():
            return path
    except InputRefused as error:
        raise web.HTTPForbidden from error
    except (OSError, ValueError) as error:
        raise web.HTTPNotFound from error
    raise web.HTTPNotFound


def _quoted(name: str) -> str:
    return "".join(letter if letter.isprintable() and letter not in '"\\' else "_" for letter in name)
