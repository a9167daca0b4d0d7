"""Input files in ComfyDeploy's words: an address to PUT to, a form to send, and the address that shows a file."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from litestar import Request, Response, get, post, put
from litestar.datastructures import State
from litestar.params import Parameter, QueryParameter
from msgspec import Struct

from orchestrator.auth import PUBLIC, Principal, requires
from orchestrator.config import Config
from orchestrator.errors import FieldError, Invalid, NotFound, TooLarge
from orchestrator.files import Files, clean_content_type, clean_name
from orchestrator.live.intake import take_in
from orchestrator.live.multipart import Form
from orchestrator.live.parts import Parts
from orchestrator.store import comfydeploy
from orchestrator.store import files as store
from orchestrator.store.db import Database
from orchestrator.store.files import NewFile
from orchestrator.store.ids import new_id

MOST_BYTES: Final = 50 * 1024 * 1024
Asking = Request[Principal, Any, State]
ImageType = Literal["image/png", "image/jpg", "image/jpeg"]


class UploadUrl(Struct):
    """Where to PUT an input, and the address to give a run."""

    upload_url: str
    file_id: str
    download_url: str


class Uploaded(Struct):
    """A file that is stored. file_url may be given to a run."""

    message: str
    file_id: str
    file_name: str
    file_url: str


def view_url(config: Config, file_id: str) -> str:
    """The lasting address of a file; it needs a credential, and leads to one that needs none and expires."""
    return f"{config.base_url}/api/view?file={file_id}"


@get("/upload-url", opt=requires("playground", "files:write"))
async def upload_url(
    request: Asking,
    parts: Parts,
    image_type: Annotated[ImageType, QueryParameter(name="type")],
    file_size: Annotated[int, Parameter(ge=1)],
) -> UploadUrl:
    """An address that takes one picture."""
    if file_size > min(MOST_BYTES, parts.config.max_upload):
        raise TooLarge("File size exceeds 50MB limit")
    file_id, subject = new_id(), request.user.organisation_id
    await parts.queue.quotas.check_storage(subject, file_size)
    name = f"input.{image_type.removeprefix('image/')}"
    url = parts.files.put_url(f"/api/upload-url/{subject}/{file_id}", f"{subject}/{file_id}", name)
    return UploadUrl(url, file_id, view_url(parts.config, file_id))


@put(
    "/upload-url/{organisation_id:uuid}/{file_id:uuid}/{name:str}",
    status_code=200,
    opt=PUBLIC,
    request_max_body_size=None,
)
async def put_input(
    organisation_id: UUID,
    file_id: UUID,
    name: Annotated[str, Parameter(max_length=300)],
    expires: Annotated[int, Parameter(ge=0, le=2**53)],
    signature: Annotated[str, Parameter(max_length=100)],
    request: Request[Any, Any, State],
    parts: Parts,
) -> None:
    """The bytes of a picture, once; sent again they change nothing."""
    parts.files.check_signature("PUT", f"{organisation_id}/{file_id}", name, expires, signature)
    if await store.get(parts.db, file_id) is not None:
        return
    limit = min(MOST_BYTES, parts.config.max_upload)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise TooLarge("File size exceeds 50MB limit")
    draft = await take_in(parts, str(organisation_id), request.stream(), limit)
    content_type = clean_content_type("", name)
    await parts.files.keep(str(organisation_id), draft, content_type)
    await comfydeploy.add_input(parts.db, str(organisation_id), file_id, name, content_type, draft.size, draft.sha256)


@post("/file/upload", status_code=200, opt=requires("playground", "files:write"), request_max_body_size=None)
async def upload(request: Asking, parts: Parts) -> Uploaded:
    """multipart/form-data with a part named `file`."""
    config, organisation_id = parts.config, request.user.organisation_id
    form = Form(request, "file", config.max_upload)
    draft = await take_in(parts, organisation_id, form.chunks(), config.max_upload)
    if form.name is None:
        draft.path.unlink(missing_ok=True)
        raise Invalid("there is no part named `file`", errors=[FieldError("file", "is missing", "missing_field")])
    name = clean_name(form.name)
    content_type = clean_content_type(form.content_type, name)
    await parts.files.keep(organisation_id, draft, content_type)
    new = NewFile(organisation_id, "input", name, content_type, draft.size, draft.sha256, stored=True)
    file = await store.add(parts.db, new)
    return Uploaded("File uploaded successfully", file.id, file.name, view_url(config, file.id))


@get("/view", opt=requires("playground", "files:read"))
async def view(
    request: Asking, db: Database, files: Files, file_id: Annotated[UUID, QueryParameter(name="file")]
) -> Response[None]:
    """Leads to the file: an address that needs no credential, and expires."""
    found = await files.resolve(db, request.user.organisation_id, [str(file_id)])
    file = found.get(str(file_id))
    if file is None:
        raise NotFound(f"there is no file {file_id}", code="file_not_found")
    headers = {"Location": files.url(file.id, file.name), "Cache-Control": "no-store"}
    return Response(None, status_code=307, headers=headers)


handlers: Final = [upload_url, put_input, upload, view]
