"""Assets under /api/v2/assets: upload once, find by content, download whole or in part, delete.

An asset is a file of ours, and its id the file's. Bytes are sent by the signed address that downloads of every API use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from blake3 import blake3
from litestar import HttpMethod, Request, Response, delete, get, post, route
from litestar.datastructures import State
from litestar.enums import MediaType

from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.dialects.comfy_v2 import words
from orchestrator.dialects.comfy_v2.problems import NotImplementedHere
from orchestrator.errors import BadRequest, Conflict, Invalid, NotFound
from orchestrator.files import Files, clean_content_type, clean_name
from orchestrator.live.intake import take_in
from orchestrator.live.multipart import Form
from orchestrator.live.parts import Parts
from orchestrator.runs.ranges import Part, wanted_part
from orchestrator.store import assets
from orchestrator.store import files as rows
from orchestrator.store.assets import NewAsset, uuid_of
from orchestrator.store.db import Database
from orchestrator.store.files import NewFile

LONGEST_PATH: Final = 1024
MOST_TAGS: Final = 64
LONGEST_TAG: Final = 128
LIFE_S: Final = range(60, 604_801)


@post("/assets", opt=requires("developer", "files:write"), request_max_body_size=None)
async def upload(request: Request[Principal, Any, State], parts: Parts) -> Response[words.Asset]:
    """multipart: `content_type`, `file_path`, `expected_hash`, `tags`, `expires_in`, and the `file`."""
    db, limit, organisation_id = parts.db, parts.config.max_upload, request.user.organisation_id
    form = Form(request, "file", limit)
    other = blake3()
    draft = await take_in(parts, organisation_id, _hashing(form.chunks(), other), limit)
    found = other.digest()
    try:
        name = form.name
        if name is None:
            raise BadRequest("there is no part named `file`", code="invalid_request")
        expected = form.text("expected_hash")
        if expected and words.read_hash(expected) != found:
            shown = words.shown_hash(found)
            raise Conflict(f"the bytes have the hash {shown}, not {expected[:100]}", code="hash_mismatch")
        new = _new(organisation_id, form.text("file_path"), form.texts("tags"), _life(form.text("expires_in")))
    except BaseException:
        draft.path.unlink(missing_ok=True)
        raise
    had = await assets.content_size(db, organisation_id, found) is not None
    name = clean_name(new.file_path or name)
    content_type = clean_content_type(form.text("content_type") or form.content_type, name)
    await parts.files.keep(organisation_id, draft, content_type)
    file = await rows.add(
        db, NewFile(organisation_id, "input", name, content_type, draft.size, draft.sha256, stored=True)
    )
    await assets.note_hash(db, organisation_id, draft.sha256, found)
    await assets.describe(db, file.id, new)
    return await _answer(db, parts.files, organisation_id, file.id, created_new=not had, status=200 if had else 201)


async def _hashing(chunks: AsyncIterator[bytes], other: Any) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        other.update(chunk)
        yield chunk


def _life(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text[:9]) not in LIFE_S:
        raise Invalid(f"expires_in is {LIFE_S.start} to {LIFE_S.stop - 1} seconds", code="invalid_request")
    return int(text)


def _new(organisation_id: str, file_path: str, tags: list[str], expires_s: int | None) -> NewAsset:
    if len(file_path) > LONGEST_PATH or "\0" in file_path:
        raise Invalid(f"file_path has at most {LONGEST_PATH} characters", code="invalid_request")
    if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG or "\0" in tag for tag in tags):
        raise Invalid(f"at most {MOST_TAGS} tags of {LONGEST_TAG} characters", code="invalid_request")
    return NewAsset(organisation_id, file_path, tags, expires_s)


async def _answer(
    db: Database, files: Files, organisation_id: str, asset_id: str, *, created_new: bool, status: int
) -> Response[words.Asset]:
    row = await assets.get(db, organisation_id, asset_id)
    if row is None:
        raise NotFound("there is no such asset")
    return Response(words.asset(row, files.url(row.id, row.name), created_new), status_code=status)


@route(
    "/assets/by-hash/{content_hash:str}",
    http_method=HttpMethod.HEAD,
    opt=requires("viewer", "files:read"),
)
async def has(content_hash: str, principal: Principal, db: Database) -> Response[None]:
    """200 when the organisation has this content."""
    wanted = words.read_hash(content_hash)
    size = None if wanted is None else await assets.content_size(db, principal.organisation_id, wanted)
    return Response(None, status_code=404 if size is None else 200)


@post("/assets/from-hash", opt=requires("developer", "files:write"))
async def from_hash(data: words.FromHash, principal: Principal, parts: Parts) -> Response[words.Asset]:
    """A new asset of content that is there already; the same one again for the same path."""
    wanted = words.read_hash(data.hash)
    if wanted is None:
        raise Invalid("hash looks like blake3:<64 hexadecimal digits>", code="invalid_request")
    life = None if data.expires_in is None else _life(str(data.expires_in))
    db, files, organisation_id = parts.db, parts.files, principal.organisation_id
    new = _new(organisation_id, data.file_path, data.tags, life)
    same = await assets.same(db, new, wanted)
    if same is not None:
        return await _answer(db, files, organisation_id, same.id, created_new=False, status=200)
    await parts.queue.quotas.check_storage(organisation_id, await assets.content_size(db, organisation_id, wanted) or 0)
    minted = await assets.mint(db, new, wanted, clean_name(data.file_path))
    if minted is None:
        raise NotFound("there is no such content", code="blob_not_found")
    await assets.describe(db, minted, new)
    return await _answer(db, files, organisation_id, minted, created_new=False, status=201)


@post("/assets/from-path", opt=requires("developer", "files:write"))
async def from_path() -> None:
    """Refused: no client names a file of this server's disk."""
    raise NotImplementedHere("files of this server are nobody's to name: upload the file")


async def _own(db: Database, principal: Principal, asset_id: str) -> assets.AssetRow:
    wanted = uuid_of(asset_id)
    row = None if wanted is None else await assets.get(db, principal.organisation_id, str(wanted))
    if row is None:
        raise NotFound("there is no such asset")
    return row


async def _text(db: Database, principal: Principal, asset_id: str) -> assets.MadeRow | None:
    """A text that a job made, which is an asset without a file."""
    wanted = uuid_of(asset_id)
    return None if wanted is None else await assets.value(db, principal.organisation_id, str(wanted))


@get("/assets/{asset_id:str}", opt=requires("viewer", "files:read"))
async def get_asset(asset_id: str, principal: Principal, db: Database, files: Files, config: Config) -> words.Asset:
    """The asset with a fresh signed address."""
    text = await _text(db, principal, asset_id)
    if text is not None:
        return words.text_asset(text, config.base_url, words.kept_until(text.created_at, config.retention_days))
    row = await _own(db, principal, asset_id)
    return words.asset(row, files.url(row.id, row.name))


@get("/assets/{asset_id:str}/content", opt=requires("viewer", "files:read"))
async def content(
    asset_id: str, request: Request[Principal, Any, State], db: Database, files: Files
) -> Response[bytes]:
    """302 to the signed address, which takes a Range; a text's bytes, or a part of them."""
    text = await _text(db, request.user, asset_id)
    if text is not None:
        return _text_answer(text, request.headers.get("range"))
    row = await _own(db, request.user, asset_id)
    headers = {"Location": files.url(row.id, row.name), "Cache-Control": "no-store"}
    return Response(b"", status_code=302, media_type=MediaType.TEXT, headers=headers)


def _text_answer(text: assets.MadeRow, wanted: str | None) -> Response[bytes]:
    content_type, body = words.text_of(text)
    part = wanted_part(wanted, len(body)) if body else Part(0, 0, partial=False)
    headers = {"Cache-Control": "no-store", "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
    if part.partial:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{len(body)}"
    status = 206 if part.partial else 200
    return Response(body[part.start : part.end], status_code=status, media_type=content_type, headers=headers)


@delete("/assets/{asset_id:str}", opt=requires("developer", "files:write"))
async def remove(asset_id: str, principal: Principal, db: Database) -> None:
    """Forget an asset. What a job made, or needs yet, stays."""
    row = await _own(db, principal, asset_id)
    used = await assets.is_used(db, principal.organisation_id, row.id)
    if used or not await assets.delete(db, principal.organisation_id, row.id):
        raise Conflict("a job made this asset, or needs it", code="asset_in_use")


handlers: Final = [upload, has, from_hash, from_path, get_asset, content, remove]
