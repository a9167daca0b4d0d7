"""Files: upload under /api/v1/files, download and agents' uploads by signed URL under /files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

from litestar import HttpMethod, Request, Response, Router, delete, get, post, put, route
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from orchestrator.api.params import NO_NUL, Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import PUBLIC, Principal, requires
from orchestrator.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Gone,
    Invalid,
    NotFound,
    TooLarge,
    WrongType,
)
from orchestrator.files import BLOCK, Draft, Files, clean_content_type, clean_name
from orchestrator.live.intake import take_in
from orchestrator.live.parts import Parts
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.runs.ranges import Part, wanted_part
from orchestrator.store import file_lists
from orchestrator.store import files as store
from orchestrator.store.db import Database
from orchestrator.store.files import FileRow, NewFile
from orchestrator.wire import File, Page

SHOWN_IN_PLACE: Final = re.compile(r"(image/(?!svg)[a-z0-9.+-]+|video/[a-z0-9.+-]+|audio/[a-z0-9.+-]+|text/plain)")
OVERHEAD: Final = 64 * 1024

Expires = Annotated[int, Parameter(ge=0, le=2**53, description="From the signed URL.")]
Signature = Annotated[str, Parameter(max_length=100, description="From the signed URL.")]


# Upload


@post(
    opt=requires("playground", "files:write", bound=True),
    request_max_body_size=None,
    operation_id="upload_file",
    summary="Upload a file",
    responses=documented(400, 403, 413, 415),
)
async def upload(request: Request[Any, Any, State], principal: Principal, parts: Parts) -> File:
    """multipart/form-data with one part named `file`. The same content is kept once."""
    config = parts.config
    _check_length(request, config.max_upload + OVERHEAD)
    part = _OnePart(request, _boundary(request), config.max_upload + OVERHEAD)
    draft = await take_in(parts, principal.organisation_id, part.chunks(), config.max_upload)
    if part.name is None:
        draft.path.unlink(missing_ok=True)
        raise Invalid("there is no part named `file`", errors=[FieldError("file", "is missing", "missing_field")])
    return await keep_input(parts, principal.organisation_id, draft, part.name, part.content_type)


async def keep_input(parts: Parts, organisation_id: str, draft: Draft, name: str, content_type: str) -> File:
    """A draft becomes a stored input."""
    name = clean_name(name)
    content_type = clean_content_type(content_type, name)
    await parts.files.keep(organisation_id, draft, content_type)
    new = NewFile(organisation_id, "input", name, content_type, draft.size, draft.sha256, stored=True)
    return parts.files.shown(await store.add(parts.db, new))


@get(
    operation_id="list_files",
    summary="List files",
    opt=requires("viewer", "files:read"),
    responses=documented(400, 403),
)
async def list_files(
    principal: Principal,
    db: Database,
    files: Files,
    cursor: Cursor = None,
    limit: Limit = 20,
    purpose: Annotated[Literal["input", "output"] | None, Parameter(description="Uploaded, or made by runs.")] = None,
    name: Annotated[
        str | None, Parameter(max_length=200, pattern=NO_NUL, description="Only names that contain this.")
    ] = None,
) -> Page[File]:
    """Newest first."""
    found = await file_lists.page(
        db, principal.organisation_id, decode_cursor(cursor), limit + 1, purpose=purpose, name=name
    )
    return page_of([files.shown(file) for file in found], limit)


@delete(
    "/{file_id:uuid}",
    status_code=204,
    operation_id="delete_file",
    summary="Delete a file",
    opt=requires("developer", "files:write"),
    responses=documented(403, 404, 409),
)
async def delete_file(file_id: UUID, principal: Principal, db: Database) -> None:
    """Refused while a run that has not ended needs or makes it. Its bytes go a while after their last file."""
    if not await file_lists.delete(db, principal.organisation_id, file_id, principal.actor):
        raise NotFound(f"there is no file {file_id}", code="file_not_found")


def _check_length(request: Request[Any, Any, State], limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")


def _boundary(request: Request[Any, Any, State]) -> str:
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_type() != "multipart/form-data":
        raise WrongType("the body must be multipart/form-data with a part named `file`")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise BadRequest("the multipart boundary is missing", code="malformed_multipart")
    return boundary


class _OnePart:
    """The bytes of the part named `file` of a multipart stream; its name and type once it was met."""

    def __init__(self, request: Request[Any, Any, State], boundary: str, limit: int) -> None:
        self._request = request
        self._boundary = boundary
        self._limit = limit
        self._inside = False
        self.name: str | None = None
        self.content_type = ""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The part's bytes as they arrive. Raises BadRequest for a malformed or broken-off stream."""
        received = 0
        try:
            with PushMultipartParser(self._boundary, max_segment_count=16) as parser:
                async for data in self._request.stream():
                    received += len(data)
                    if received > self._limit:
                        raise TooLarge(f"the body is larger than {self._limit} bytes")
                    for event in parser.parse(data):
                        if isinstance(event, MultipartSegment):
                            self._meet(event)
                        elif event and self._inside:
                            yield bytes(event)
        except (MultipartError, ValueError, LookupError) as error:
            raise BadRequest(f"the multipart body is malformed: {error}", code="malformed_multipart") from error

    def _meet(self, part: MultipartSegment) -> None:
        self._inside = part.name == "file" and self.name is None
        if self._inside:
            self.name = part.filename or "file"
            self.content_type = part.content_type or ""


@get(
    "/{file_id:uuid}",
    operation_id="get_file",
    summary="One file",
    responses=documented(403, 404),
    opt=requires("playground", "files:read"),
)
async def get_file(file_id: UUID, principal: Principal, db: Database, files: Files) -> File:
    """The file with a fresh signed URL."""
    found = await files.resolve(db, principal.organisation_id, [str(file_id)])
    if str(file_id) not in found:
        raise NotFound(f"there is no file {file_id}", code="file_not_found")
    return files.shown(found[str(file_id)])


# An agent's upload by grant


@put(
    "/files/upload/{file_id:uuid}",
    status_code=204,
    opt=PUBLIC,
    request_max_body_size=None,
    operation_id="put_granted_file",
    summary="Send a granted file's bytes",
    tags=["agents"],
    responses=documented(403, 404, 409, 410, 413),
)
async def put_granted(
    file_id: UUID,
    expires: Expires,
    signature: Signature,
    request: Request[Any, Any, State],
    db: Database,
    files: Files,
) -> None:
    """Exactly the announced bytes. Sending them again is no error; a run that moved on refuses them."""
    files.check_signature("PUT", str(file_id), "", expires, signature)
    file = await store.get(db, file_id)
    if file is None:
        raise NotFound(f"there is no file {file_id}", code="file_not_found")
    if file.stored:
        return
    if file.attempt_id is not None and not await store.still_holds(db, UUID(file.attempt_id)):
        raise Conflict("the attempt no longer holds its run", code="stale_attempt")
    _check_length(request, file.size)
    await files.take(file, request.stream())
    await store.mark_stored(db, [file.id])


# Download


@get(
    "/files/{file_id:uuid}/{name:str}",
    opt=PUBLIC,
    operation_id="download_file",
    summary="Download by signed URL",
    tags=["files"],
    responses=documented(403, 404, 410),
)
async def download(
    file_id: UUID,
    name: str,
    expires: Expires,
    signature: Signature,
    request: Request[Any, Any, State],
    db: Database,
    files: Files,
) -> Response[Any]:
    """The bytes, or a part of them (Range), or a redirect to the object storage."""
    file = await _signed_file(files, db, file_id, name, expires, signature)
    return await _answer(request, files, file, name)


@route("/files/{file_id:uuid}/{name:str}", http_method=HttpMethod.HEAD, opt=PUBLIC, include_in_schema=False)
async def download_head(
    file_id: UUID,
    name: str,
    expires: Expires,
    signature: Signature,
    request: Request[Any, Any, State],
    db: Database,
    files: Files,
) -> Response[Any]:
    """The same without the bytes."""
    file = await _signed_file(files, db, file_id, name, expires, signature)
    return await _answer(request, files, file, name)


async def _signed_file(files: Files, db: Database, file_id: UUID, name: str, expires: int, signature: str) -> FileRow:
    files.check_signature("GET", str(file_id), name, expires, signature)
    file = await store.get(db, file_id)
    if file is None or not file.stored:
        raise NotFound(f"there is no file {file_id}", code="file_not_found")
    return file


async def _answer(request: Request[Any, Any, State], files: Files, file: FileRow, name: str) -> Response[Any]:
    elsewhere = files.direct_url(file)
    if elsewhere is not None:
        return Response(None, status_code=307, headers={"Location": elsewhere, "Cache-Control": "private, max-age=60"})
    path = files.path(file)
    if path is None or not await asyncio.to_thread(path.is_file):
        raise Gone("the file's bytes are gone", code="content_gone")
    return _send(request, file, path, name)


def _send(request: Request[Any, Any, State], file: FileRow, path: Path, name: str) -> Response[Any]:
    headers = _headers(file, name)
    if request.headers.get("if-none-match") in (headers["ETag"], "*"):
        return Response(None, status_code=304, headers=headers)
    unchanged = request.headers.get("if-range", headers["ETag"]) == headers["ETag"]
    part = wanted_part(request.headers.get("range") if unchanged else None, file.size)
    headers["Content-Length"] = str(part.end - part.start)
    if part.partial:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.size}"
    body = _read(path, part) if request.method == "GET" else _nothing()
    status = 206 if part.partial else 200
    return Stream(body, status_code=status, headers=headers, media_type=file.content_type)


def _headers(file: FileRow, name: str) -> dict[str, str]:
    place = "inline" if SHOWN_IN_PLACE.fullmatch(file.content_type) else "attachment"
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256.hex()}"',
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": f"{place}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; media-src 'self'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for data in nothing:
        yield data


async def _read(path: Path, part: Part) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        file.seek(part.start)
        left = part.end - part.start
        while left > 0:
            data = await asyncio.to_thread(file.read, min(left, BLOCK))
            if not data:
                return
            left -= len(data)
            yield data


routes = [
    Router("/api/v1/files", route_handlers=[upload, list_files, get_file, delete_file], tags=["files"]),
    put_granted,
    download,
    download_head,
]
