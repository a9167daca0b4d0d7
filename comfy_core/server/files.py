"""/upload/image and /view: files in and out. Every name stays inside its folder."""

from __future__ import annotations

import asyncio
import hashlib
import io
import mimetypes
import os
import tempfile
from pathlib import Path

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from PIL import Image, UnidentifiedImageError

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders, annotated, inside
from comfy_core.server.directories import in_its_directory
from comfy_core.server.state import STATE

CHUNK = 1 << 20
ACTIVE = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css", "image/svg+xml"}
PREVIEWS = {"webp": "WEBP", "jpeg": "JPEG"}
DEFAULT_QUALITY = 90


class Upload:
    """The parts of one multipart upload; the file lies in a temporary place until it is named."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.name = ""
        self.path: Path | None = None
        self.sha256 = ""


@in_its_directory
async def upload_image(request: web.Request) -> web.Response:
    """Store a file. Answers {name, subfolder, type}; a same file of the same name is not written twice."""
    folders = request.app[STATE].services.folders
    if not request.content_type.startswith("multipart/"):
        raise web.HTTPBadRequest(text="an upload is a multipart form")
    upload = Upload()
    try:
        await _receive(await request.multipart(), upload, folders.base_for_uploads())
        return web.json_response(_store(folders, upload))
    except (InputRefused, ValueError) as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    finally:
        if upload.path is not None:
            upload.path.unlink(missing_ok=True)


async def _receive(parts: MultipartReader, upload: Upload, folder: Path) -> None:
    async for part in parts:
        if not isinstance(part, BodyPartReader):
            raise InputRefused("an upload is a flat form")
        if part.name == "image" and part.filename:
            upload.name = part.filename
            upload.path, upload.sha256 = await _spool(part, folder)
        elif part.name is not None and part.filename is None:
            upload.fields[part.name] = await part.text()


async def _spool(part: BodyPartReader, folder: Path) -> tuple[Path, str]:
    digest = hashlib.sha256()
    handle, name = tempfile.mkstemp(prefix=".upload-", dir=folder)
    with os.fdopen(handle, "wb") as file:
        while chunk := await part.read_chunk(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return Path(name), digest.hexdigest()


def _store(folders: Folders, upload: Upload) -> dict[str, str]:
    if upload.path is None:
        raise InputRefused("the form has no file called image")
    kind, subfolder = upload.fields.get("type", "input"), upload.fields.get("subfolder", "")
    root = inside(folders.of_kind(kind), subfolder)
    wanted = inside(root, upload.name)
    if wanted == root or wanted.parent != root:
        raise InputRefused("the file name must not name a folder")
    root.mkdir(parents=True, exist_ok=True)
    if upload.fields.get("overwrite") not in ("true", "1"):
        wanted = _free_name(wanted, upload.sha256)
    if not wanted.exists() or upload.fields.get("overwrite") in ("true", "1"):
        upload.path.chmod(0o644)
        upload.path.replace(wanted)
    return {"name": wanted.name, "subfolder": subfolder, "type": kind}


def _free_name(wanted: Path, sha256: str) -> Path:
    """The name itself where it is free or holds the same content, else `name (1).ext`, `(2)` ..."""
    candidate, number = wanted, 0
    while candidate.exists():
        with candidate.open("rb") as file:
            if number == 0 and hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return candidate
        number += 1
        candidate = wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")
    return candidate


@in_its_directory
async def view(request: web.Request) -> web.StreamResponse:
    """A file's bytes, or a smaller preview, or some of its channels."""
    path = _wanted(request.app[STATE].services.folders, request)
    headers: dict[str, str] = {hdrs.CONTENT_DISPOSITION: f'filename="{_quoted(path.name)}"'}
    preview, channel = request.query.get("preview"), request.query.get("channel", "rgba")
    if preview is None and channel in ("rgba", ""):
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers[hdrs.CONTENT_TYPE] = "application/octet-stream" if content_type in ACTIVE else content_type
        headers["X-Content-Type-Options"] = "nosniff"
        return web.FileResponse(path, headers=headers)
    try:
        body, content_type = await asyncio.to_thread(_render, path, preview, channel)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise web.HTTPBadRequest(text="the file is not an image that can be shown") from error
    return web.Response(body=body, content_type=content_type, headers=headers)


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


def _render(path: Path, preview: str | None, channel: str) -> tuple[bytes, str]:
    with Image.open(path) as picture:
        if preview is not None:
            return _preview(picture, preview, channel)
        out = io.BytesIO()
        _channels(picture, channel).save(out, format="PNG")
        return out.getvalue(), "image/png"


def _preview(picture: Image.Image, preview: str, channel: str) -> tuple[bytes, str]:
    kind, _, quality = preview.partition(";")
    form = PREVIEWS.get(kind, "WEBP")
    if form == "JPEG" or channel == "rgb":
        picture = picture.convert("RGB")
    out = io.BytesIO()
    level = min(int(quality), 100) if quality.isdecimal() else DEFAULT_QUALITY
    picture.save(out, format=form, quality=level)
    return out.getvalue(), f"image/{form.lower()}"


def _channels(picture: Image.Image, channel: str) -> Image.Image:
    if channel == "rgb":
        return picture.convert("RGB")
    if channel != "a":
        raise ValueError(f"there is no channel {channel!r}")
    alpha = picture.convert("RGBA").getchannel("A")
    shown = Image.new("RGBA", picture.size)
    shown.putalpha(alpha)
    return shown
