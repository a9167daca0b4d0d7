"""/upload/image and /upload/mask: files in. Every name stays inside its folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders, annotated, inside
from comfy_core.server.pictures import open_picture
from comfy_core.server.receive import Upload, receive_form
from comfy_core.server.state import STATE
from comfy_core.users import settle

KEEPS_ALPHA = {".png": "PNG", ".webp": "WEBP"}


class Outside(InputRefused):
    """A reference that leads out of its folder."""


async def upload_image(request: web.Request) -> web.Response:
    """Store a file. Answers {name, subfolder, type}; a same file of the same name is not written twice."""
    folders = request.app[STATE].services.folders
    return web.json_response(await _upload(request, folders, masked=False))


async def upload_mask(request: web.Request) -> web.Response:
    """Store the picture that `original_ref` names with the alpha of the uploaded one, under the uploaded name.

    400 for a reference that names no picture, 403 for one that leads out of its folder.
    """
    folders = request.app[STATE].services.folders
    return web.json_response(await _upload(request, folders, masked=True))


async def _upload(request: web.Request, folders: Folders, masked: bool) -> dict[str, str]:
    upload = None
    try:
        upload = await receive_form(request, folders.base_for_uploads())
        if masked:
            await asyncio.to_thread(_lay_over, folders, upload)
        return await asyncio.to_thread(_store, folders, upload)
    except Outside as error:
        raise web.HTTPForbidden(text=str(error)) from error
    except (InputRefused, ValueError, LookupError, OSError) as error:
        raise web.HTTPBadRequest(text=_reason(error)) from error
    finally:
        if upload is not None:
            upload.discard()


def _reason(error: Exception) -> str:
    return str(error)[:300] if isinstance(error, InputRefused) else "the upload cannot be stored under this name"


def _store(folders: Folders, upload: Upload) -> dict[str, str]:
    if upload.path is None:
        raise InputRefused("the form has no file called image")
    kind, subfolder = upload.fields.get("type", "input"), upload.fields.get("subfolder", "")
    root = inside(folders.of_kind(kind), subfolder)
    wanted = inside(root, upload.name)
    if wanted == root or wanted.is_dir():
        raise InputRefused("the file name must not name a folder")
    wanted.parent.mkdir(parents=True, exist_ok=True)
    if not upload.overwrite:
        wanted = _free_name(wanted, upload.sha256)
    if upload.overwrite or not wanted.exists():
        settle(upload.path, wanted)
    return {"name": wanted.relative_to(root).as_posix(), "subfolder": subfolder, "type": kind}


def _free_name(wanted: Path, sha256: str) -> Path:
    """The name itself where it is free or holds the same content, else `name (1).ext`, `(2)` ..."""
    candidate, number = wanted, 0
    while candidate.exists():
        if candidate.is_file() and _hash(candidate) == sha256:
            return candidate
        number += 1
        candidate = wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")
    return candidate


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lay_over(folders: Folders, upload: Upload) -> None:
    """Turn the upload into the original with the upload's alpha. The text of a PNG is kept."""
    if upload.path is None:
        raise InputRefused("the form has no file called image")
    form = KEEPS_ALPHA.get(Path(upload.name).suffix.lower())
    if form is None:
        raise InputRefused("a picture with a mask is stored as .png or .webp")
    original = _original(folders, upload.fields.get("original_ref", ""))
    try:
        with open_picture(original) as below, open_picture(upload.path) as mask:
            _combine(below, mask, form, upload.path)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InputRefused(f"the mask cannot be laid over the picture: {str(error)[:200]}") from error
    upload.sha256 = _hash(upload.path)


def _combine(below: Image.Image, mask: Image.Image, form: str, out: Path) -> None:
    if below.size != mask.size:
        raise ValueError(f"the picture is {below.size[0]} x {below.size[1]}, the mask {mask.size[0]} x {mask.size[1]}")
    text = PngInfo()
    for key, value in getattr(below, "text", {}).items():
        text.add_text(key, value)
    shown = below.convert("RGBA")
    shown.putalpha(mask.convert("RGBA").getchannel("A"))
    if form == "PNG":
        shown.save(out, format="PNG", pnginfo=text, compress_level=4)
    else:
        shown.save(out, format=form, lossless=True)


def _original(folders: Folders, reference: str) -> Path:
    """The picture that {filename, subfolder, type} names. Raises Outside, and InputRefused where there is none."""
    named = _parsed(reference)
    name, kind = annotated(named["filename"], named["type"])
    if not name or name.startswith("/") or ".." in name:
        raise InputRefused("original_ref names no file")
    root = folders.of_kind(kind)
    try:
        path = inside(inside(root, named["subfolder"]), Path(name).name)
    except InputRefused as error:
        raise Outside(str(error)) from error
    if not path.is_file():
        raise InputRefused("the picture that original_ref names is not there")
    return path


def _parsed(reference: str) -> dict[str, str]:
    try:
        named: Any = json.loads(reference)
    except (ValueError, RecursionError) as error:
        raise InputRefused("original_ref is not JSON") from error
    known = {"filename": "", "subfolder": "", "type": "output"}
    if not isinstance(named, dict) or "filename" not in named:
        raise InputRefused("original_ref is not an object that names a file")
    said = {key: named.get(key, default) for key, default in known.items()}
    if not all(isinstance(value, str) for value in said.values()):
        raise InputRefused("original_ref holds something that is not text")
    return said
