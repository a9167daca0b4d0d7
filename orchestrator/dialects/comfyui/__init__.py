"""A ComfyUI server over a pool of machines, under /comfy: for tools that speak ComfyUI's own API.

Every route stands there twice, as ComfyUI has it: as it is and under /comfy/api. What it does is done with runs and
files.
"""

from __future__ import annotations

from typing import Final

from litestar import Router

from orchestrator.dialects.comfyui import door, files, front_end, info, prompts, realtime, socket, userdata
from orchestrator.dialects.comfyui.by_host import PREFIX, by_host

__all__ = ["by_host", "routes"]

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
    *realtime.handlers,
    Router(PREFIX, route_handlers=[*HANDLERS, *front_end.handlers], opt=door.OPT, include_in_schema=False),
    Router(f"{PREFIX}/api", route_handlers=HANDLERS, opt=door.OPT, include_in_schema=False),
]
