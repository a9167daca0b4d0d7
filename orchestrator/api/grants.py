"""POST /api/upload-grants: an agent asks where to put an output, for the attempt whose token it has."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, post
from litestar.datastructures import State

from drivers.wire import Grant, GrantRequest
from orchestrator.api.problems import documented
from orchestrator.auth import PUBLIC
from orchestrator.config import Config
from orchestrator.errors import Conflict, FieldError, Invalid, TooLarge, Unauthorized
from orchestrator.files import Files, clean_content_type, clean_name
from orchestrator.store import files as store
from orchestrator.store.db import Database
from orchestrator.store.files import Holder, NewFile
from orchestrator.store.ids import digest


@post(
    "/api/upload-grants",
    status_code=200,
    opt=PUBLIC,
    operation_id="grant_upload",
    summary="Ask where to put an output",
    tags=["agents"],
    responses=documented(400, 409, 413),
)
async def grant(
    data: GrantRequest, request: Request[Any, Any, State], db: Database, files: Files, config: Config
) -> Grant:
    """A file id and a URL to PUT to; no URL when the organisation has these bytes already.

    Authorised by the attempt's token, for as long as the attempt holds its run.
    """
    holder = await _holder(db, data.attempt_id, request.headers.get("authorization", ""))
    sha256 = _checked(data, config)
    name = clean_name(data.name)
    content_type = clean_content_type(data.content_type, name)
    stored = await files.already_stored(db, holder.organisation_id, sha256, data.size)
    file = await store.add(
        db,
        NewFile(
            holder.organisation_id,
            "output",
            name,
            content_type,
            data.size,
            sha256,
            stored,
            attempt_id=data.attempt_id,
            provisional=data.early,
        ),
    )
    return Grant(file.id) if stored else Grant(file.id, files.grant_url(file))


async def _holder(db: Database, attempt_id: str, authorization: str) -> Holder:
    scheme, _, token = authorization.partition(" ")
    try:
        wanted = UUID(attempt_id)
    except ValueError as error:
        raise Unauthorized("there is no such attempt") from error
    holder = await store.holder(db, wanted, digest(token.strip())) if scheme.lower() == "bearer" else None
    if holder is None:
        raise Unauthorized("the token is not this attempt's")
    if not holder.holds:
        raise Conflict("the attempt no longer holds its run", code="stale_attempt")
    return holder


def _checked(data: GrantRequest, config: Config) -> bytes:
    if data.size < 0:
        raise Invalid("size is negative", errors=[FieldError("size", "must not be negative")])
    if data.size > config.max_upload:
        raise TooLarge(f"a file may have at most {config.max_upload} bytes")
    try:
        sha256 = bytes.fromhex(data.sha256)
    except ValueError:
        sha256 = b""
    if len(sha256) != 32:
        raise Invalid("sha256 is no hash", errors=[FieldError("sha256", "must be 64 hexadecimal digits")])
    return sha256


routes = [grant]
