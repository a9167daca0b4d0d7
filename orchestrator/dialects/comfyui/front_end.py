"""ComfyUI's published front end, on the facade's own host, when its package is installed beside us.

It is a program of its own under its own licence (GPL-3) and no part of this one: its files are found by the package's
name and sent as they are.
"""

from __future__ import annotations

import asyncio
import importlib.util
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final

from litestar import MediaType, Request, Response, get
from litestar.datastructures import State
from litestar.response import File

from orchestrator.auth import PUBLIC, Authenticator
from orchestrator.dialects.comfyui.by_host import OWN_HOST
from orchestrator.dialects.comfyui.door import principal_of
from orchestrator.errors import NotFound
from orchestrator.live.infos import INFOS
from orchestrator.store.db import Database

PACKAGE: Final = "comfyui_frontend_package"
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'self'; form-action 'none'"
)
ABSENT: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>ComfyFleet</title>
<p>This is a ComfyUI server over a pool of machines. Tools are given this address and an API key. ComfyUI's own front
end is shown on a host name of its own (<code>FLEET_COMFYUI_HOST</code>), when the package comfyui-frontend-package is
installed.</p>
</html>
"""
NO_MACHINE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>ComfyFleet: no machine yet</title>
<p>No machine of your organisation has told what it can run, so there is nothing to build a workflow of. Connect one
(<code>python -m machine_agent</code>); this page becomes ComfyUI as soon as one is there.</p>
</html>
"""
STRANGER: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>ComfyFleet: not let in</title>
<p>This browser was not let in, or its link ran out. Make a new link
(<code>POST /api/v1/comfyui-links</code>) and open it here.</p>
</html>
"""


@cache
def folder() -> Path | None:
    """The folder with the front end's files; None: it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((Path(place, "static") for place in places if Path(place, "static", "index.html").is_file()), None)


@get(["/", "/{file:path}"], opt=PUBLIC)
async def front_end(
    request: Request[Any, Any, State], db: Database, auth: Authenticator, file: str = ""
) -> Response[Any]:
    """A file of the front end, or its page; in its place a page that says what is missing."""
    name = file.strip("/")
    root = folder() if request.scope.get("state", {}).get(OWN_HOST) else None
    if root is None:
        if name:
            raise NotFound("there is nothing here")
        return Response(ABSENT, media_type=MediaType.HTML)
    if not name:
        instead = await _instead(request, db, auth)
        if instead is not None:
            return instead
    path = await asyncio.to_thread(_inside, root, name or "index.html")
    if path is None:
        raise NotFound("there is nothing here")
    stored = "public, max-age=86400" if name.startswith("assets/") else "no-cache"
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": stored}
    kind = guess_type(path.name)[0] or "application/octet-stream"
    return File(path, content_disposition_type="inline", media_type=kind, headers=headers)


async def _instead(request: Request[Any, Any, State], db: Database, auth: Authenticator) -> Response[str] | None:
    """The page for who was not let in, or has no machines; None: the front end."""
    headers = {"Cache-Control": "no-store"}
    principal = await principal_of(request.scope, auth)
    if principal is None:
        return Response(STRANGER, status_code=401, media_type=MediaType.HTML, headers=headers)
    if not await INFOS.of(db, principal.organisation_id):
        return Response(NO_MACHINE, media_type=MediaType.HTML, headers=headers)
    return None


def _inside(root: Path, name: str) -> Path | None:
    """A file under the folder, whatever the name tries."""
    path = (root / name).resolve()
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


handlers: Final = [front_end]
