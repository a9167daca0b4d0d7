"""What lies in the model folders: names, facts, pictures beside them, the words in their headers. It loads none."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image, UnidentifiedImageError

from comfy_core.errors import InputRefused
from comfy_core.folders import OLD_NAMES, Folders, inside
from comfy_core.server.pictures import preview
from comfy_core.server.state import STATE

HIDDEN = {"configs", "custom_nodes"}
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
LONGEST_HEADER = 64 << 20
HEADER_LENGTH = 8


def _folders(request: web.Request) -> Folders:
    return request.app[STATE].services.folders


def _kind(request: web.Request) -> str:
    kind = request.match_info["folder"]
    if kind not in _folders(request).models or kind in OLD_NAMES:
        raise web.HTTPNotFound
    return kind


async def models(request: web.Request) -> web.Response:
    """The kinds of models."""
    return web.json_response(list(_folders(request).models))


async def models_of(request: web.Request) -> web.Response:
    """The files of a kind."""
    return web.json_response(await asyncio.to_thread(_folders(request).model_names, _kind(request)))


async def embeddings(request: web.Request) -> web.Response:
    """Names of the textual inversions, without ending."""
    names = await asyncio.to_thread(_folders(request).model_names, "embeddings")
    return web.json_response([name.rpartition(".")[0] for name in names])


async def kinds(request: web.Request) -> web.Response:
    """The kinds of models with the folders they lie in."""
    known = {kind: found[0] for kind, found in _folders(request).models.items() if kind not in HIDDEN}
    return web.json_response([{"name": kind, "folders": list(roots)} for kind, roots in known.items()])


async def facts_of(request: web.Request) -> web.Response:
    """The files of a kind with size and times; pathIndex says in which of its folders."""
    kind = _kind(request)
    if kind in HIDDEN:
        raise web.HTTPNotFound
    return web.json_response(await asyncio.to_thread(_facts, _folders(request), kind))


def _facts(folders: Folders, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    roots = folders.models[kind][0]
    for name in folders.model_names(kind):
        for index, root in enumerate(roots):
            path = Path(root, name)
            if path.is_file():
                facts = path.stat()
                times = {"modified": facts.st_mtime, "created": facts.st_ctime}
                found.append({"name": name, "pathIndex": index, **times, "size": facts.st_size})
    return found


async def picture_of(request: web.Request) -> web.Response:
    """The picture beside a model, or the one inside it, as webp."""
    roots, index = _folders(request).models[_kind(request)][0], request.match_info["index"]
    if not index.isdecimal() or len(index) > len(str(len(roots))) or int(index) >= len(roots):
        raise web.HTTPNotFound
    try:
        path = inside(Path(roots[int(index)]), request.match_info["file"])
        body = await asyncio.to_thread(_picture, path)
    except (InputRefused, OSError) as error:
        raise web.HTTPNotFound from error
    if body is None:
        raise web.HTTPNotFound
    return web.Response(body=body, content_type="image/webp")


def _picture(path: Path) -> bytes | None:
    for source in _sources(path):
        try:
            return preview(source, "webp")[0]
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
            continue
    return None


def _sources(path: Path) -> Iterator[Path | io.BytesIO]:
    """Where a picture may be, the likeliest first."""
    for ending in (*PICTURES, *(f".preview{ending}" for ending in PICTURES)):
        beside = path.with_name(path.stem + ending)
        if beside.is_file():
            yield beside
    covers = (header_words(path) or {}).get("ssmd_cover_images")
    if isinstance(covers, str):
        try:
            yield from (io.BytesIO(base64.b64decode(cover)) for cover in json.loads(covers))
        except (ValueError, TypeError, RecursionError, binascii.Error):
            return


async def metadata(request: web.Request) -> web.Response:
    """The words that whoever made a .safetensors file wrote into its header."""
    name = request.query.get("filename", "")
    if not name.endswith(".safetensors"):
        raise web.HTTPNotFound
    try:
        path = _folders(request).find_model(_kind(request), name)
        words = await asyncio.to_thread(header_words, path)
    except (InputRefused, OSError, ValueError) as error:
        raise web.HTTPNotFound from error
    if words is None:
        raise web.HTTPNotFound
    return web.json_response(words)


def header_words(path: Path) -> dict[str, Any] | None:
    """`__metadata__` of a .safetensors file; None where it has none or is no such file."""
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_LENGTH), "little")
        if not 0 < length <= LONGEST_HEADER:
            return None
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            return None
    words = header.get("__metadata__") if isinstance(header, dict) else None
    return words if isinstance(words, dict) else None
