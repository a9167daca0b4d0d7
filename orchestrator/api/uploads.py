"""Other ways to bring a file: straight to the storage, by its content's hash, by a URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import aiohttp
from litestar import HttpMethod, Response, Router, post, route
from litestar.params import Parameter

from drivers import egress
from orchestrator.api.files import keep_input
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.errors import Conflict, FieldError, Invalid, NotFound, TooLarge
from orchestrator.files import Draft, clean_content_type, clean_name
from orchestrator.live.intake import take_in
from orchestrator.live.parts import Parts
from orchestrator.live.starting import refuse_url
from orchestrator.store import files as store
from orchestrator.store.files import NewFile
from orchestrator.wire import File, FileByHash, FileFromUrl, Upload, UploadCreate

AT_ONCE: Final = 8
_FETCHES: Final = asyncio.Semaphore(AT_ONCE)

Sha256 = Annotated[str, Parameter(pattern="^[0-9a-f]{64}$", description="Hex.")]
Size = Annotated[int, Parameter(ge=0, le=2**50, description="Bytes.")]


def _new(principal: Principal, data: UploadCreate | FileByHash, *, stored: bool) -> NewFile:
    name = clean_name(data.name)
    content_type = clean_content_type(data.content_type, name)
    sha256 = bytes.fromhex(data.sha256)
    return NewFile(principal.organisation_id, "input", name, content_type, data.size, sha256, stored=stored)


@post(
    "/uploads",
    operation_id="create_upload",
    summary="Ask where to send a file",
    opt=requires("playground", "files:write", bound=True),
    responses=documented(400, 403, 413),
)
async def create_upload(data: UploadCreate, principal: Principal, parts: Parts) -> Upload:
    """A signed URL that takes exactly the announced bytes by PUT; then complete it. With S3 it is the bucket's own."""
    if data.size > parts.config.max_upload:
        raise TooLarge(f"the file is larger than {parts.config.max_upload} bytes")
    await parts.queue.quotas.check_storage(principal.organisation_id, data.size)
    there = await parts.files.already_stored(parts.db, principal.organisation_id, bytes.fromhex(data.sha256), data.size)
    file = await store.add(parts.db, _new(principal, data, stored=there))
    expires_at = datetime.now(UTC) + timedelta(seconds=parts.config.file_url_s)
    return Upload(file.id, None if there else parts.files.grant_url(file), {}, expires_at)


@post(
    "/uploads/{file_id:uuid}/complete",
    status_code=200,
    operation_id="complete_upload",
    summary="Say that a file was sent",
    opt=requires("playground", "files:write", bound=True),
    responses=documented(403, 404, 409),
)
async def complete_upload(file_id: UUID, principal: Principal, parts: Parts) -> File:
    """Checks size and hash where that was not done on the way. Idempotent."""
    file = await store.get(parts.db, file_id)
    if file is None or file.organisation_id != principal.organisation_id or file.attempt_id is not None:
        raise NotFound(f"there is no upload {file_id}", code="file_not_found")
    if not file.stored:
        if not await parts.files.arrived(file):
            raise Conflict("the announced bytes are not there: PUT them first", code="upload_incomplete")
        await store.mark_stored(parts.db, [file.id])
    return parts.files.shown(file)


@post(
    "/by-hash",
    operation_id="create_file_by_hash",
    summary="Name a content that is here already",
    opt=requires("playground", "files:write", bound=True),
    responses=documented(400, 403, 404),
)
async def by_hash(data: FileByHash, principal: Principal, parts: Parts) -> File:
    """A new file of content that the organisation has; 404 `content_not_found` when it has to be sent."""
    await _find(parts, principal, data.sha256, data.size)
    await parts.queue.quotas.check_storage(principal.organisation_id, data.size)
    return parts.files.shown(await store.add(parts.db, _new(principal, data, stored=True)))


@route(
    "/by-hash/{sha256:str}",
    http_method=HttpMethod.HEAD,
    operation_id="has_content",
    summary="Whether a content is here",
    opt=requires("playground", "files:read", bound=True),
    responses=documented(403, 404),
)
async def has_content(sha256: Sha256, size: Size, principal: Principal, parts: Parts) -> Response[Any]:
    """200 or 404; only the organisation's own contents are looked at."""
    await _find(parts, principal, sha256, size)
    return Response(None, status_code=200)


async def _find(parts: Parts, principal: Principal, sha256: str, size: int) -> None:
    if not await parts.files.already_stored(parts.db, principal.organisation_id, bytes.fromhex(sha256), size):
        raise NotFound("no file of yours has this content: send it", code="content_not_found")


@post(
    "/from-url",
    operation_id="create_file_from_url",
    summary="Fetch a file by its URL",
    opt=requires("developer", "files:write"),
    responses=documented(400, 403, 413),
)
async def from_url(data: FileFromUrl, principal: Principal, parts: Parts) -> File:
    """Public addresses only, redirects too; as large and as long as an upload may be."""
    config = parts.config
    refuse_url("url", data.url, allow_private=config.fetch_private)
    try:
        async with (
            _FETCHES,
            egress.guarded_session(config.fetch_private, config.fetch_timeout_s, connections=1) as session,
            egress.get(session, data.url, allow_private=config.fetch_private) as download,
        ):
            draft = await _receive(parts, principal.organisation_id, download)
            name = data.name or download.name or "file"
            return await keep_input(parts, principal.organisation_id, draft, name, download.content_type)
    except egress.Refused as error:
        raise Invalid(f"url: {error}", code="url_refused", errors=[FieldError("url", str(error))]) from error
    except egress.Undelivered as error:
        detail = f"url: the file could not be fetched: {error}"
        raise Invalid(detail, code="url_failed", errors=[FieldError("url", str(error))]) from error


async def _receive(parts: Parts, organisation_id: str, download: egress.Download) -> Draft:
    limit = parts.config.max_upload
    if download.length is not None and download.length > limit:
        raise TooLarge(f"the file is larger than {limit} bytes")

    async def chunks() -> AsyncIterator[bytes]:
        try:
            async for chunk in download.chunks:
                yield chunk
        except TimeoutError as error:
            raise egress.Undelivered("it took too long") from error
        except (aiohttp.ClientError, OSError) as error:
            raise egress.Undelivered(f"it broke off: {error}"[:200]) from error

    return await take_in(parts, organisation_id, chunks(), limit)


routes = [
    Router(
        "/api/v1/files",
        route_handlers=[create_upload, complete_upload, by_hash, has_content, from_url],
        tags=["files"],
    )
]
