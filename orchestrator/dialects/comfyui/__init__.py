"""A ComfyUI server over a pool of machines, under /comfy: for tools that speak ComfyUI's own API.

Every route stands there twice, as ComfyUI has it: as it is and under /comfy/api. What it does is done with runs and
files.
"""

from __future__ import annotations

from typing import Final

from litestar import Router

from orchestrator.dialects.comfyui import door, files, info, prompts, socket, userdata

__all__ = ["routes"]

HANDLERS: Final = [
    *prompts.handlers,
    *files.handlers,
    *info.handlers,
    *userdata.handlers,
    *socket.handlers,
]
routes: Final = [
    door.create_link,
    door.enter,
    Router(door.PREFIX, route_handlers=HANDLERS, opt=door.OPT, include_in_schema=False),
    Router(f"{door.PREFIX}/api", route_handlers=HANDLERS, opt=door.OPT, include_in_schema=False),
]
