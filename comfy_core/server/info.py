"""What the executor is and has: node classes, models, memory, features."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch
from aiohttp import web

from comfy_core.config import VERSION, Settings
from comfy_core.server.hub import dumps
from comfy_core.server.state import STATE
from comfy_core.usage import free_of

FRONT_END_KNOWN = "1.27.10"
TEMPLATES_KNOWN = "0.1.95"
TEMPLATES_PACKAGE = "comfyui-workflow-templates"
"""Versions that the spoken ComfyUI release names; nothing here needs them."""


async def object_info(request: web.Request) -> web.Response:
    """Every node class."""
    registry = request.app[STATE].registry
    described = {class_type: registry.describe(class_type) for class_type in registry}
    return web.json_response({name: entry for name, entry in described.items() if entry is not None}, dumps=dumps)


async def object_info_of(request: web.Request) -> web.Response:
    """One node class, or an empty object."""
    name = request.match_info["class_type"]
    entry = request.app[STATE].registry.describe(name)
    return web.json_response({} if entry is None else {name: entry}, dumps=dumps)


async def system_stats(request: web.Request) -> web.Response:
    """Versions and memory, in bytes."""
    state = request.app[STATE]
    main = psutil.virtual_memory()
    device = state.services.memory.device
    free, total = free_of(device)
    system = {
        "os": os.name,
        "ram_total": main.total,
        "ram_free": main.available,
        "comfyui_version": VERSION,
        "required_frontend_version": FRONT_END_KNOWN,
        "installed_templates_version": _installed(TEMPLATES_PACKAGE),
        "required_templates_version": TEMPLATES_KNOWN,
        "python_version": sys.version,
        "pytorch_version": torch.__version__,
        "embedded_python": False,
        "argv": ["comfy_core", *state.settings.argv],
    }
    return web.json_response({"system": system, "devices": [_device(device, free, total)]})


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device(device: torch.device, free: int, total: int) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    index = (device.index or 0) if on_gpu else None
    held = torch.cuda.memory_reserved(device) if on_gpu else total
    used = torch.cuda.memory_allocated(device) if on_gpu else total - free
    return {
        "name": f"cuda:{index} {torch.cuda.get_device_name(device)}" if on_gpu else "cpu",
        "type": device.type,
        "index": index,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": held,
        "torch_vram_free": held - used,
    }


def features(settings: Settings) -> dict[str, Any]:
    """What this server can do, as negotiated over /ws."""
    return {"supports_preview_metadata": True, "max_upload_size": settings.network.max_upload}


async def get_features(request: web.Request) -> web.Response:
    """The same, asked for over HTTP."""
    return web.json_response(features(request.app[STATE].settings))


async def health(request: web.Request) -> web.Response:
    """Our own: for whoever supervises this process."""
    return web.json_response({"ok": True, "pid": os.getpid(), "directories": True})
