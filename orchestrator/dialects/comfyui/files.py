"""/upload/image, /upload/mask and /view: inputs under names of the sender's own, outputs by the run that made them.

A name is a label of a stored file; no path of anybody's disk is ever made of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from msgspec import Struct

from orchestrator.auth import Principal, requires
from orchestrator.dialects.comfyui.bodies import done
from orchestrator.dialects.comfyui.door import sender_of
from orchestrator.dialects.comfyui.prompts import output_of
from orchestrator.errors import BadRequest, Forbidden, Invalid, NotFound, TooLarge
from orchestrator.files import Draft, Files, clean_content_type, clean_name
from orchestrator.live.intake import take_in
from orchestrator.live.multipart import Form
from orchestrator.live.parts import Parts
from orchestrator.live.pictures import LARGEST, PICTURES
from orchestrator.runs.prompts import annotated
from orchestrator.store import comfyui
from orchestrator.store import files as rows
from orchestrator.store.comfyui import Sender
from orchestrator.store.db import Database
from orchestrator.store.files import FileRow, NewFile

MOST_FOLDERS: Final = 8
MOST_TRIES: Final = 1000
REDUCED: Final = ("rgb", "a")


class Reference(Struct):
    """`original_ref`: the picture that a mask is laid over."""

    filename: str
    subfolder: str = ""
    type: str = "output"


@post("/upload/image", status_code=200, opt=requires("developer", "files:write"), request_max_body_size=None)
async def upload(request: Request[Principal, Any, State], parts: Parts) -> dict[str, str]:
    """multipart: `image`, `overwrite`, `subfolder`. Another content under the same name gets a name of its own."""
    form, draft = await _received(request, parts)
    return await _named(parts, request.user, form, draft)


@post("/upload/mask", status_code=200, opt=requires("developer", "files:write"), request_max_body_size=None)
async def upload_mask(request: Request[Principal, Any, State], parts: Parts) -> dict[str, str]:
    """The same, and `original_ref`: what is kept is that picture with the alpha of the one that is sent."""
    form, draft = await _received(request, parts)
    try:
        if draft.size > LARGEST:
            raise TooLarge(f"a mask has at most {LARGEST} bytes")
        below = await _original(parts, sender_of(request.user), form.text("original_ref"))
        mask = await asyncio.to_thread(draft.path.read_bytes)
    finally:
        draft.path.unlink(missing_ok=True)
    data, _ = await PICTURES.masked(below, mask, form.name or "")
    made = await take_in(parts, request.user.organisation_id, _whole(data), parts.config.max_upload)
    return await _named(parts, request.user, form, made)


async def _received(request: Request[Principal, Any, State], parts: Parts) -> tuple[Form, Draft]:
    form = Form(request, "image", parts.config.max_upload)
    draft = await take_in(parts, request.user.organisation_id, form.chunks(), parts.config.max_upload)
    if not form.name:
        draft.path.unlink(missing_ok=True)
        raise BadRequest("there is no file in the part `image`", code="malformed_multipart")
    return form, draft


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _original(parts: Parts, sender: Sender, text: str) -> bytes:
    """The bytes of the picture that a reference names. Raises BadRequest, Forbidden, TooLarge."""
    try:
        named = msgspec.json.decode(text, type=Reference)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"original_ref names no picture: {error}", code="bad_request") from error
    if ".." in f"{named.subfolder}/{named.filename}".replace("\\", "/").split("/"):
        raise Forbidden("original_ref leads elsewhere")
    name, folder = annotated(named.filename)
    file = await _find(parts.db, sender, name, named.subfolder.strip("/"), folder or named.type)
    if file is None:
        raise BadRequest("original_ref names no picture", code="bad_request")
    return await parts.files.read(file, LARGEST)


async def _named(parts: Parts, principal: Principal, form: Form, draft: Draft) -> dict[str, str]:
    """Keep an upload under its name, or a free one like it."""
    try:
        folder = _folder(form.text("subfolder"))
    except BaseException:
        draft.path.unlink(missing_ok=True)
        raise
    name, sender = clean_name(form.name or ""), sender_of(principal)
    content_type = clean_content_type(form.content_type, name)
    await parts.files.keep(sender.organisation_id, draft, content_type)
    if form.text("overwrite").lower() not in ("true", "1"):
        name, known = await _free_name(parts.db, sender, folder, name, draft.sha256)
        if known:
            return {"name": name, "subfolder": folder, "type": "input"}
    new = NewFile(sender.organisation_id, "input", name, content_type, draft.size, draft.sha256, stored=True)
    file = await rows.add(parts.db, new)
    await comfyui.name_input(parts.db, sender, _path(folder, name), file.id)
    return {"name": name, "subfolder": folder, "type": "input"}


async def _free_name(db: Database, sender: Sender, folder: str, name: str, sha256: bytes) -> tuple[str, bool]:
    """A name that stands for nothing yet, or for this very content (then True)."""
    parts = PurePosixPath(name)
    for number in range(MOST_TRIES):
        tried = f"{parts.stem} ({number}){parts.suffix}" if number else name
        found = await comfyui.input_files(db, sender, [_path(folder, tried)])
        if not found:
            return tried, False
        file = await comfyui.file_of(db, sender.organisation_id, next(iter(found.values())))
        if file is not None and file.sha256 == sha256:
            return tried, True
    raise Invalid(f"there are too many files called {name}", code="name_taken")


def _folder(given: str) -> str:
    """A label of folders; what would lead elsewhere on a disk is refused, as ComfyUI does. Raises BadRequest."""
    parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > MOST_FOLDERS:
        raise BadRequest("the subfolder leads elsewhere", code="bad_request")
    return "/".join(clean_name(part) for part in parts)


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


@get("/view", opt=requires("viewer", "files:read"))
async def view(
    request: Request[Principal, Any, State],
    db: Database,
    files: Files,
    filename: str = "",
    subfolder: str = "",
    preview: str | None = None,
    channel: str = "rgba",
) -> Response[bytes]:
    """A redirect to the signed address of an output, or of an uploaded input; other forms of pictures are made here."""
    name, folder = annotated(filename)
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise BadRequest("filename names no file", code="bad_request")
    kind = folder or str(request.query_params.get("type", "output"))
    place = subfolder.strip("/")
    file = await _find(db, sender_of(request.user), name, place, kind)
    if file is None and kind != "input":
        file = await _made_so_far(db, files, request.user.organisation_id, _path(place, name))
    if file is None:
        raise NotFound("there is no such file", code="file_not_found")
    if preview is not None or channel in REDUCED:
        return await _in_another_form(files, file, preview, channel)
    address = urlsplit(files.url(file.id, file.name))
    headers = {"Location": f"{address.path}?{address.query}", "Cache-Control": "private, max-age=300"}
    return done(302, headers)


async def _in_another_form(files: Files, file: FileRow, preview: str | None, channel: str) -> Response[bytes]:
    """Smaller (`preview`), or some of its channels."""
    data = await files.read(file, LARGEST)
    if preview is None:
        body, kind = await PICTURES.channels(data, channel)
    else:
        body, kind = await PICTURES.preview(data, preview, channel)
    headers = {
        "Cache-Control": "private, max-age=300",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(file.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(body, media_type=kind, headers=headers)


async def _made_so_far(db: Database, files: Files, organisation_id: str, path: str) -> FileRow | None:
    """An output of a run that has not ended."""
    run_id, _, name = path.rpartition("/")
    try:
        file = await rows.of_running(db, organisation_id, UUID(run_id), name)
    except ValueError:
        return None
    if file is not None and not file.stored and await files.confirm(db, [file.id], file.attempt_id or ""):
        return None
    return file


async def _find(db: Database, sender: Sender, name: str, subfolder: str, folder: str) -> FileRow | None:
    if folder == "input":
        path = _path(subfolder, name)
        file_id = (await comfyui.input_files(db, sender, [path])).get(path)
    elif folder in ("output", "temp"):
        run_id, _, last = _path(subfolder, name).rpartition("/")
        file_id = await output_of(db, sender.organisation_id, run_id, last)
    else:
        raise BadRequest("type is input, output or temp", code="bad_request")
    return None if file_id is None else await comfyui.file_of(db, sender.organisation_id, file_id)


handlers: Final = [upload, upload_mask, view]
