"""The front end: found, and served from its folder. It knows its files by name only, not what they do.

It is a program of its own under its own licence (GPL-3) that is not part of this one: it is served when it was
installed beside, as the package comfyui-frontend-package or in a folder that --front-end-root names.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from aiohttp import hdrs, web

from comfy_core.server.state import STATE

PACKAGE = "comfyui_frontend_package"
BESIDE = {"templates": "comfyui_workflow_templates", "docs": "comfyui_embedded_docs"}
"""What the front end shows besides: the path it asks under, and the package that holds a folder of that name."""
NEVER_STORED = {hdrs.CACHE_CONTROL: "no-cache", hdrs.PRAGMA: "no-cache", hdrs.EXPIRES: "0"}
OWN_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>comfy_core</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}
code{background:#8883;padding:.1em .3em;border-radius:.2em}</style>
<h1>comfy_core is running</h1>
<p>This is ComfyFleet's executor. It speaks ComfyUI's API: prompts are queued with <code>POST /prompt</code>, progress
comes over <code>/ws</code>, and <a href="object_info">object_info</a> lists the nodes.</p>
<p>No front end is installed. To edit graphs here, install the one ComfyUI publishes (a separate program, GPL-3) and
start the executor again:</p>
<p><code>pip install comfyui-frontend-package</code></p>
<p>or name the folder of one with <code>--front-end-root</code>.</p>
</html>
"""


def find(told: Path | None) -> Path | None:
    """The folder with the front end's files: the one that was told, else the installed package's, else none."""
    if told is not None:
        return told
    folder = _folder_of(PACKAGE, "static")
    return folder if folder is not None and (folder / "index.html").is_file() else None


def _folder_of(package: str, name: str) -> Path | None:
    """A folder inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((Path(place, name) for place in places if Path(place, name).is_dir()), None)


async def index(request: web.Request) -> web.StreamResponse:
    """The front end's page, or our own that says how to get it."""
    root = find(request.app[STATE].settings.network.front_end)
    if root is not None and (root / "index.html").is_file():
        return web.FileResponse(root / "index.html", headers=NEVER_STORED)
    return web.Response(text=OWN_PAGE, content_type="text/html", headers=NEVER_STORED)


async def no_templates(_: web.Request) -> web.Response:
    """The list of example workflows where none are installed: the front end waits for it."""
    return web.json_response([])


def add_files(app: web.Application, root: Path | None) -> None:
    """Serve the front end's other files. Last of all routes, since it takes every path."""
    for prefix, package in BESIDE.items():
        folder = _folder_of(package, prefix)
        if folder is not None:
            app.router.add_static(f"/{prefix}", folder)
        elif prefix == "templates":
            app.router.add_get("/templates/index.json", no_templates)
    if root is not None:
        app.router.add_static("/", root, name="front_end")
