"""/upload/image and /view: inputs under names of the sender's own, outputs by the run that made them.

A name is a label of a stored file; no path of anybody's disk is ever made of one.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.datastructures import State

from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.dialects.comfyui.bodies import done
from orchestrator.dialects.comfyui.door import sender_of
from orchestrator.dialects.comfyui.prompts import output_of
from orchestrator.errors import BadRequest, Invalid, NotFound
from orchestrator.files import Files, clean_content_type, clean_name
from orchestrator.live.multipart import Form
from orchestrator.runs.prompts import annotated
from orchestrator.store import comfyui
from orchestrator.store import files as rows
from orchestrator.store.comfyui import Sender
from orchestrator.store.db import Database
from orchestrator.store.files import FileRow, NewFile

MOST_FOLDERS: Final = 8
MOST_TRIES: Final = 1000


@post("/upload/image", status_code=200, guards=[requires("developer", "files:write")], request_max_body_size=None)
async def upload(request: Request[Principal, Any, State], db: Database, files: Files, config: Config) -> dict[str, str]:
    """multipart: `image`, `overwrite`, `subfolder`. Another content under the same name gets a name of its own."""
    form = Form(request, "image", config.max_upload)
    draft = await files.receive(form.chunks(), config.max_upload)
    try:
        if not form.name:
            raise BadRequest("there is no file in the part `image`", code="malformed_multipart")
        folder = _folder(form.text("subfolder"))
    except BaseException:
        draft.path.unlink(missing_ok=True)
        raise
    name, organisation_id = clean_name(form.name), request.user.organisation_id
    content_type = clean_content_type(form.content_type, name)
    await files.keep(organisation_id, draft, content_type)
    sender = sender_of(request.user)
    if form.text("overwrite").lower() not in ("true", "1"):
        name, known = await _free_name(db, sender, folder, name, draft.sha256)
        if known:
            return {"name": name, "subfolder": folder, "type": "input"}
    new = NewFile(organisation_id, "input", name, content_type, draft.size, draft.sha256, stored=True)
    file = await rows.add(db, new)
    await comfyui.name_input(db, sender, _path(folder, name), file.id)
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


@post("/upload/mask", status_code=200, guards=[requires("developer", "files:write")], request_max_body_size=None)
async def upload_mask() -> None:
    """Masks are put into pictures by whoever paints them."""
    raise Invalid("this server does not edit pictures: upload the finished one by /upload/image", code="no_masks_here")


@get("/view", guards=[requires("viewer", "files:read")])
async def view(
    request: Request[Principal, Any, State], db: Database, files: Files, filename: str = "", subfolder: str = ""
) -> Response[bytes]:
    """A redirect to the signed address of an output, or of an uploaded input."""
    name, folder = annotated(filename)
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise BadRequest("filename names no file", code="bad_request")
    kind = folder or str(request.query_params.get("type", "output"))
    file = await _find(db, sender_of(request.user), name, subfolder.strip("/"), kind)
    if file is None:
        raise NotFound("there is no such file", code="file_not_found")
    address = urlsplit(files.url(file.id, file.name))
    headers = {"Location": f"{address.path}?{address.query}", "Cache-Control": "private, max-age=300"}
    return done(302, headers)


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
