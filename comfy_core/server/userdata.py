"""/userdata and /v2/userdata: the files a user keeps here, such as workflows. No name leaves the user's folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web

from comfy_core.errors import InputRefused
from comfy_core.folders import inside
from comfy_core.server.receive import CHUNK, spool
from comfy_core.server.users import user_of, users_of
from comfy_core.users import UnknownUser, settle

PAGES = {".html", ".htm", ".xhtml", ".xht"}
"""A page that somebody stored must not run as one of ours."""


def _home(request: web.Request) -> Path:
    try:
        return users_of(request).home(user_of(request))
    except UnknownUser as error:
        raise web.HTTPUnauthorized from error


def _path(request: web.Request, key: str) -> Path:
    """The file that a part of the route names. 403 where it leads out, 400 where no file system takes it."""
    home, name = _home(request), request.match_info[key]
    try:
        path = inside(home, name)
        path.is_file()
    except InputRefused as error:
        raise web.HTTPBadRequest if "\x00" in name else web.HTTPForbidden from error
    except OSError as error:
        raise web.HTTPBadRequest(text="the name is too long") from error
    if path == home.resolve():
        raise web.HTTPBadRequest(text="a file is to be named")
    return path


def _says(request: web.Request, name: str, default: str = "false") -> bool:
    return request.query.get(name, default) == "true"


def _info(path: Path, root: Path) -> dict[str, Any]:
    facts = path.stat()
    name = path.relative_to(root).as_posix()
    return {"path": name, "size": facts.st_size, "modified": facts.st_mtime, "created": facts.st_ctime}


async def list_files(request: web.Request) -> web.Response:
    """Paths of the files in a folder, relative to it: plain, with facts, or split into their parts."""
    name = request.query.get("dir", "")
    if not name:
        raise web.HTTPBadRequest(text="Directory not provided")
    try:
        root = inside(_home(request), name)
        if not root.exists():
            raise web.HTTPNotFound(text="Directory not found")
    except InputRefused as error:
        raise web.HTTPForbidden(text="Invalid directory") from error
    except OSError as error:
        raise web.HTTPNotFound(text="Directory not found") from error
    files = await asyncio.to_thread(lambda: sorted(_files(root, _says(request, "recurse"))))
    if _says(request, "full_info"):
        return web.json_response([_info(path, root) for path in files])
    names = [path.relative_to(root) for path in files]
    if _says(request, "split"):
        return web.json_response([[one.as_posix(), *one.parts] for one in names])
    return web.json_response([one.as_posix() for one in names])


def _files(root: Path, recurse: bool) -> Iterator[Path]:
    """Files that are shown: hidden ones are not, nor what a link brings in from elsewhere."""
    for folder, below, names in os.walk(root):
        yield from (
            Path(folder, name) for name in names if not name.startswith(".") and not Path(folder, name).is_symlink()
        )
        below[:] = [name for name in below if recurse and not name.startswith(".")]


async def list_all(request: web.Request) -> web.Response:
    """Everything below a folder, folders first; paths are relative to the user's folder."""
    try:
        home = users_of(request).home(user_of(request)).resolve()
    except UnknownUser as error:
        raise web.HTTPForbidden(text="Invalid user specified in request") from error
    try:
        root = inside(home, request.query.get("path", ""))
        if root != home and not root.exists():
            raise web.HTTPNotFound(text="Requested path not found")
    except (InputRefused, OSError) as error:
        raise web.HTTPBadRequest(text="Invalid path requested") from error
    if root.is_file():
        raise web.HTTPBadRequest(text="Requested path is not a directory")
    return web.json_response(await asyncio.to_thread(_everything, root, home))


def _everything(root: Path, home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for folder, below, names in os.walk(root):
        for name in below:
            path = Path(folder, name).relative_to(home).as_posix()
            found.append({"name": name, "path": path, "type": "directory"})
        for file in (Path(folder, name) for name in names if not Path(folder, name).is_symlink()):
            facts = _info(file, home)
            entry = {"name": file.name, "path": facts["path"], "type": "file", "size": facts["size"]}
            found.append(entry | {"modified": facts["modified"]})
    return sorted(found, key=lambda one: (one["type"], one["name"].lower(), one["path"]))


async def get_file(request: web.Request) -> web.StreamResponse:
    """A file's bytes."""
    path = _path(request, "file")
    if not path.exists():
        raise web.HTTPNotFound
    if not path.is_file():
        raise web.HTTPForbidden
    shown_as = {hdrs.CONTENT_TYPE: "application/octet-stream"} if path.suffix.lower() in PAGES else {}
    return web.FileResponse(path, headers=shown_as)


async def post_file(request: web.Request) -> web.Response:
    """Store the body. 409 where the file is there and ?overwrite=false."""
    path = _path(request, "file")
    if path.is_dir():
        raise web.HTTPBadRequest(text="that is a folder")
    _refuse_taken(request, path)
    folder = _make(path.parent)
    written, _ = await spool(request.content.iter_chunked(CHUNK), folder, request.client_max_size)
    try:
        settle(written, path)
    except OSError as error:
        written.unlink(missing_ok=True)
        raise web.HTTPBadRequest(text="the file cannot be stored under this name") from error
    return _stored(request, path)


async def delete_file(request: web.Request) -> web.Response:
    """Remove a file."""
    path = _path(request, "file")
    if not path.exists():
        raise web.HTTPNotFound
    if not path.is_file():
        raise web.HTTPBadRequest(text="only files are removed")
    path.unlink(missing_ok=True)
    return web.Response(status=204)


async def move_file(request: web.Request) -> web.Response:
    """Give a file or folder another name. 409 as for storing."""
    source, target = _path(request, "file"), _path(request, "dest")
    if not source.exists():
        raise web.HTTPNotFound
    _refuse_taken(request, target)
    if target.is_dir() or source in target.parents:
        raise web.HTTPBadRequest(text="that is a folder")
    _make(target.parent)
    try:
        source.replace(target)
    except OSError as error:
        raise web.HTTPBadRequest(text="it cannot be moved there") from error
    return _stored(request, target)


def _refuse_taken(request: web.Request, path: Path) -> None:
    if request.query.get("overwrite") == "false" and path.exists():
        raise web.HTTPConflict(text="File already exists")


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise web.HTTPBadRequest(text="the folder cannot be made") from error
    return folder


def _stored(request: web.Request, path: Path) -> web.Response:
    facts = _info(path, _home(request).resolve())
    return web.json_response(facts if _says(request, "full_info") else facts["path"])
