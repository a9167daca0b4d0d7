"""/users, /settings and /userdata: what ComfyUI's front end keeps for its user. Paths are labels, of no disk."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.datastructures import State

from orchestrator.auth import Principal, requires
from orchestrator.dialects.comfyui.bodies import done, json_object
from orchestrator.dialects.comfyui.door import sender_of
from orchestrator.errors import BadRequest, Conflict, NotFound, TooLarge
from orchestrator.store import comfyui
from orchestrator.store.comfyui import Kept, Sender
from orchestrator.store.db import Database

SETTINGS: Final = "comfy.settings.json"
LARGEST: Final = 10 * 1024 * 1024
MOST_FILES: Final = 2_000
LONGEST_PATH: Final = 500
MOVE: Final = re.compile(rb"/userdata/([^/?]+)/move/([^/?]+)$")
"""In the path as it came, where the slashes of names are still encoded."""
READS: Final = requires("viewer", "workflows:read")
WRITES: Final = requires("developer", "workflows:write")
AnyRequest = Request[Principal, Any, State]


@get("/users", opt=READS)
async def users() -> dict[str, Any]:
    """One user: the sender."""
    return {"storage": "server", "migrated": True}


async def _settings(db: Database, sender: Sender) -> dict[str, Any]:
    body = await comfyui.read(db, sender, SETTINGS)
    return {} if body is None else msgspec.json.decode(body, type=dict[str, Any])


@get("/settings", opt=READS)
async def settings(principal: Principal, db: Database) -> dict[str, Any]:
    """All of them."""
    return await _settings(db, sender_of(principal))


@get("/settings/{name:str}", opt=READS)
async def setting(name: str, principal: Principal, db: Database) -> Response[bytes]:
    """One, or null."""
    value = (await _settings(db, sender_of(principal))).get(name)
    return Response(msgspec.json.encode(value), media_type="application/json")


@post("/settings", status_code=200, opt=WRITES)
async def change_settings(request: AnyRequest, db: Database) -> Response[bytes]:
    """Those named are changed, the others stay."""
    return await _merge(db, sender_of(request.user), await json_object(request))


@post("/settings/{name:str}", status_code=200, opt=WRITES)
async def change_setting(name: str, request: AnyRequest, db: Database) -> Response[bytes]:
    """One is changed, to any JSON value."""
    try:
        value = msgspec.json.decode(await request.body())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error), code="malformed_json") from error
    return await _merge(db, sender_of(request.user), {name: value})


async def _merge(db: Database, sender: Sender, changes: dict[str, Any]) -> Response[bytes]:
    merged = await _settings(db, sender) | changes
    await _write(db, sender, SETTINGS, msgspec.json.encode(merged))
    return done()


async def _write(db: Database, sender: Sender, path: str, body: bytes) -> None:
    if len(body) > LARGEST:
        raise TooLarge(f"a file has at most {LARGEST} bytes")
    if not await comfyui.write(db, sender, path, body, most=MOST_FILES):
        raise TooLarge(f"at most {MOST_FILES} files are kept for a user")


def _path(given: str) -> str:
    """A path within the user's own. Raises BadRequest."""
    path = unquote(given).replace("\\", "/").strip("/")
    parts = path.split("/")
    if not path or len(path) > LONGEST_PATH or ".." in parts or "" in parts or not path.isprintable():
        raise BadRequest("the path names no file of yours", code="bad_request")
    return path


@get("/userdata", opt=READS)
async def listing(
    request: AnyRequest, db: Database, recurse: bool = False, full_info: bool = False, split: bool = False
) -> list[Any]:
    """The user's files of a folder, by their paths within it."""
    folder = request.query_params.get("dir", "")
    if not folder:
        raise BadRequest("dir names no folder", code="bad_request")
    below = f"{_path(folder)}/" if folder.strip("./") else ""
    found = await comfyui.kept(db, sender_of(request.user), below, MOST_FILES)
    if not found:
        raise NotFound("there is no such folder", code="file_not_found")
    shown = [one for one in found if recurse or "/" not in one.path.removeprefix(below)]
    return [_listed(one, below, full_info=full_info, split=split) for one in shown]


def _listed(one: Kept, below: str, *, full_info: bool, split: bool) -> Any:
    path = one.path.removeprefix(below)
    if full_info:
        return {**_about(one), "path": path}
    return [path, *path.split("/")] if split else path


def _about(one: Kept) -> dict[str, Any]:
    return {
        "path": one.path,
        "size": one.size,
        "modified": int(one.modified_at.timestamp() * 1000),
        "created": int(one.created_at.timestamp() * 1000),
    }


@get("/userdata/{file:path}", opt=READS)
async def read(file: str, principal: Principal, db: Database) -> Response[bytes]:
    """A file's bytes."""
    body = await comfyui.read(db, sender_of(principal), _path(file))
    if body is None:
        raise NotFound("there is no such file", code="file_not_found")
    headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
    return Response(body, media_type="application/octet-stream", headers=headers)


@post("/userdata/{file:path}", status_code=200, opt=WRITES)
async def write(
    file: str, request: AnyRequest, db: Database, overwrite: bool = True, full_info: bool = False
) -> Response[bytes]:
    """Keep a file, or (`.../move/{to}`) give one another path; `overwrite=false` refuses to replace one."""
    sender, moved = sender_of(request.user), MOVE.search(request.scope["raw_path"])
    path = _path(file if moved is None else moved.group(2).decode())
    if overwrite is False and await comfyui.read(db, sender, path) is not None:
        raise Conflict("the file is there already", code="name_taken")
    if moved is None:
        await _write(db, sender, path, await request.body())
    elif not await comfyui.move(db, sender, _path(moved.group(1).decode()), path):
        raise NotFound("there is no such file", code="file_not_found")
    return await _stored(db, sender, path, full_info=full_info)


async def _stored(db: Database, sender: Sender, path: str, *, full_info: bool) -> Response[bytes]:
    if not full_info:
        return Response(msgspec.json.encode(path), media_type="application/json")
    found = [one for one in await comfyui.kept(db, sender, path, MOST_FILES) if one.path == path]
    return Response(msgspec.json.encode(_about(found[0])), media_type="application/json")


@get("/v2/userdata", opt=READS)
async def folder(principal: Principal, db: Database, path: str = "") -> list[dict[str, Any]]:
    """What stands in a folder, folders first."""
    below = f"{_path(path)}/" if path.strip("./") else ""
    found = await comfyui.kept(db, sender_of(principal), below, MOST_FILES)
    names = [(one, one.path.removeprefix(below)) for one in found]
    folders = sorted({name.partition("/")[0] for _, name in names if "/" in name})
    inner: list[dict[str, Any]] = [{"name": name, "path": below + name, "type": "directory"} for name in folders]
    return inner + [{**_about(one), "name": name, "type": "file"} for one, name in names if "/" not in name]


@delete("/userdata/{file:path}", opt=WRITES)
async def remove(file: str, principal: Principal, db: Database) -> None:
    """Forget a file."""
    if not await comfyui.remove(db, sender_of(principal), _path(file)):
        raise NotFound("there is no such file", code="file_not_found")


handlers: Final = [
    users,
    settings,
    setting,
    change_settings,
    change_setting,
    listing,
    read,
    write,
    folder,
    remove,
]
