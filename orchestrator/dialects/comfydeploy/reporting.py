"""What the comfyui-deploy plugin calls while it works: /api/update-run, /api/file-upload and the uploads these allow.

A caller proves itself by the token of the attempt, which the plugin carries as it was given it: as a bearer, in the
query or in the body (`cd_token`), or as `x-api-key`. The path /api/update-run itself is the agents'; bodies of the
plugin are handed here.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, get, put
from litestar.datastructures import State
from litestar.params import Parameter
from msgspec import Struct

from orchestrator.auth import PUBLIC
from orchestrator.dialects.comfydeploy.callbacks import Callback, progress_of, read
from orchestrator.errors import Conflict, FieldError, Invalid, TooLarge, Unauthorized
from orchestrator.files import clean_content_type, clean_name
from orchestrator.live.hub import Hub
from orchestrator.live.parts import Parts
from orchestrator.live.reports import Reports
from orchestrator.runs.callbacks import LONGEST, Facts
from orchestrator.store import callbacks as store
from orchestrator.store import files
from orchestrator.store.callbacks import Reporter
from orchestrator.store.db import Database
from orchestrator.store.ids import digest, uuid7
from orchestrator.wire import ProgressEvent

REMEMBERED: Final = 5000
DONE: Final = {"status": "success", "message": "success"}
"""Both generations' answer."""
_CALLBACK: Final = msgspec.json.Decoder(Callback)
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # escaped as JSON has it, by an odd number of backslashes

Name = Annotated[str, Parameter(min_length=1, max_length=LONGEST, description="The file's name.")]


class UploadUrl(Struct):
    """Where to PUT a file, and the address to name it by afterwards."""

    url: str
    download_url: str
    include_acl: bool = False
    is_public: bool = False


class PluginReports:
    """Takes the plugin's callbacks; one per process."""

    def __init__(self, db: Database, reports: Reports, hub: Hub) -> None:
        self._db = db
        self._reports = reports
        self._hub = hub
        self._shown: OrderedDict[tuple[str, bytes], Reporter] = OrderedDict()

    async def __call__(self, request: Request[Any, Any, State], body: bytes) -> dict[str, str] | None:
        """The answer to a callback; None: the body is none. Raises Unauthorized."""
        callback = _decoded(body)
        if callback is None or callback.run_id is None or callback.events is not None:
            return None
        reporter = await self.reporter(callback.run_id, token_of(request, callback.cd_token))
        live = progress_of(callback)
        if live is not None:
            self._hub.publish(reporter.organisation_id, ProgressEvent(reporter.run_id, live[0], text=live[1]))
        facts = read(callback)
        if facts != Facts():
            await self._reports.take(reporter, facts)
        return DONE

    async def reporter(self, claimed_id: str, token: str) -> Reporter:
        """The attempt whose token this is. Raises Unauthorized."""
        name = (claimed_id, digest(token))
        known = self._shown.get(name)
        if known is not None:
            return known
        found = await store.reporter(self._db, _uuid(claimed_id), name[1]) if token else None
        if found is None:
            raise Unauthorized("the token is not that of this run's attempt")
        self._shown[name] = found
        while len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)
        return found

    async def stored(self, reporter: Reporter, file_id: UUID, name: str) -> None:
        """A file of the attempt has arrived."""
        await self._reports.take(reporter, Facts(uploaded={str(file_id): name}))


def _decoded(body: bytes) -> Callback | None:
    """None for what is no callback. U+0000, which cannot be stored, is left out."""
    try:
        text = body.decode()
        return _CALLBACK.decode(_NUL.sub(r"\1", text) if "\\u0000" in text else text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Unauthorized("there is no such run") from None


def token_of(request: Request[Any, Any, State], in_body: str | None = None) -> str:
    """The token, from wherever the plugin put it; empty: nowhere."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    bearer = credential.strip() if scheme.lower() == "bearer" else ""
    return request.query_params.get("cd_token") or bearer or request.headers.get("x-api-key") or in_body or ""


@get(
    "/file-upload",
    opt=PUBLIC,
)
async def file_upload(
    request: Request[Any, Any, State],
    file_name: Name,
    run_id: Annotated[str, Parameter(max_length=64)],
    parts: Parts,
    plugin: PluginReports,
    size: Annotated[int | None, Parameter(ge=0)] = None,
) -> UploadUrl:
    """An address that takes the bytes of one file of the attempt whose token is shown."""
    known = await plugin.reporter(run_id, token_of(request))
    current = await store.of_attempt(parts.db, UUID(known.attempt_id))
    if current is None or not current.holds:
        raise Conflict("the attempt no longer holds its run", code="stale_attempt")
    if size is not None and size > parts.config.max_upload:
        raise TooLarge(f"a file may have at most {parts.config.max_upload} bytes")
    file_id, name = uuid7(), clean_name(file_name)
    subject = f"{known.attempt_id}/{file_id}"
    url = parts.files.put_url(f"/api/file-upload/{subject}", subject, name)
    return UploadUrl(url, f"{parts.config.base_url}/api/view?file={file_id}")


@put(
    "/file-upload/{attempt_id:uuid}/{file_id:uuid}/{name:str}",
    status_code=200,
    opt=PUBLIC,
    request_max_body_size=None,
)
async def put_output(
    attempt_id: UUID,
    file_id: UUID,
    name: Name,
    expires: Annotated[int, Parameter(ge=0, le=2**53)],
    signature: Annotated[str, Parameter(max_length=100)],
    request: Request[Any, Any, State],
    parts: Parts,
    plugin: PluginReports,
) -> None:
    """The bytes of a file, once; sent again they change nothing. A run that moved on refuses them."""
    parts.files.check_signature("PUT", f"{attempt_id}/{file_id}", name, expires, signature)
    reporter = await store.of_attempt(parts.db, attempt_id)
    if reporter is None or not reporter.holds:
        raise Conflict("the attempt no longer holds its run", code="stale_attempt")
    if await files.get(parts.db, file_id) is not None:
        await plugin.stored(reporter, file_id, name)
        return
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > parts.config.max_upload:
        raise TooLarge(f"a file may have at most {parts.config.max_upload} bytes")
    draft = await parts.files.receive(request.stream(), parts.config.max_upload)
    if length.isdigit() and int(length) != draft.size:
        draft.path.unlink(missing_ok=True)
        raise Invalid("the body broke off", errors=[FieldError("", "is shorter than its Content-Length")])
    content_type = clean_content_type(request.headers.get("content-type", ""), name)
    await parts.files.keep(reporter.organisation_id, draft, content_type)
    await store.add_file(parts.db, reporter, file_id, name, content_type, draft.size, draft.sha256)
    await plugin.stored(reporter, file_id, name)


handlers: Final = [file_upload, put_output]
