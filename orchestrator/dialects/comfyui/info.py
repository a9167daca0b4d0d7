"""What a ComfyUI client asks about its server: node classes, models, machines, features. All machines count as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.enums import MediaType

from drivers.wire import Inventory
from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.dialects.comfyui.door import sender_of
from orchestrator.errors import NotFound
from orchestrator.live.infos import INFOS
from orchestrator.runs.object_info import Info, with_uploads
from orchestrator.store import comfyui, machines
from orchestrator.store.db import Database
from orchestrator.wire import Machine

MOST_MACHINES: Final = 100
MOST_UPLOADS: Final = 500
SEES: Final = requires("viewer", "machines:read")


async def _info(db: Database, principal: Principal) -> Info:
    info = await INFOS.of(db, principal.organisation_id)
    return with_uploads(info, await comfyui.input_paths(db, sender_of(principal), MOST_UPLOADS))


@get("/object_info", opt=SEES)
async def object_info(principal: Principal, db: Database) -> Response[bytes]:
    """Every class that a machine has; `availability` says which machines."""
    return Response(msgspec.json.encode(await _info(db, principal)), media_type=MediaType.JSON)


@get("/object_info/{name:str}", opt=SEES)
async def object_info_of(name: str, principal: Principal, db: Database) -> Info:
    """One class, or nothing."""
    info = await _info(db, principal)
    return {name: info[name]} if name in info else {}


async def _machines(db: Database, principal: Principal) -> list[tuple[Machine, Inventory]]:
    found = await machines.page(db, principal.organisation_id, None, MOST_MACHINES)
    return [(machine, msgspec.convert(machine.inventory, Inventory)) for machine in found if machine.connected]


@get("/system_stats", opt=SEES)
async def system_stats(principal: Principal, db: Database) -> dict[str, Any]:
    """The connected machines' memory together, and each of their devices."""
    found = await _machines(db, principal)
    versions = found[0][1].versions if found else {}
    ram = sum(inventory.ram for _, inventory in found)
    system = {
        "os": "posix",
        "ram_total": ram,
        "ram_free": ram,
        "comfyui_version": versions.get("comfyui", "0.0.0"),
        "required_frontend_version": "",
        "installed_templates_version": "",
        "required_templates_version": "",
        "python_version": versions.get("python", ""),
        "pytorch_version": versions.get("torch", ""),
        "embedded_python": False,
        "argv": [],
    }
    return {"system": system, "devices": list(_devices(found))}


def _devices(found: list[tuple[Machine, Inventory]]) -> Iterator[dict[str, Any]]:
    index = 0
    for machine, inventory in found:
        for gpu in inventory.gpus:
            yield {
                "name": f"{machine.name}: {gpu.name}",
                "type": gpu.kind,
                "index": index,
                "vram_total": gpu.vram,
                "vram_free": gpu.vram,
                "torch_vram_total": gpu.vram,
                "torch_vram_free": gpu.vram,
            }
            index += 1


@get("/features", opt=SEES)
async def features(config: Config) -> dict[str, Any]:
    """What the socket and uploads can take."""
    return {"supports_preview_metadata": True, "max_upload_size": config.max_upload}


@get("/models", opt=SEES)
async def model_folders(principal: Principal, db: Database) -> list[str]:
    """The kinds of models that a machine has."""
    return sorted(await _models(db, principal))


@get("/models/{folder:str}", opt=SEES)
async def models_in(folder: str, principal: Principal, db: Database) -> list[str]:
    """The models of a kind, on whatever machine."""
    found = await _models(db, principal)
    if folder not in found:
        raise NotFound("no machine has models of this kind", code="not_found")
    return sorted(found[folder])


@get("/embeddings", opt=SEES)
async def embeddings(principal: Principal, db: Database) -> list[str]:
    """Names without their endings."""
    names = (await _models(db, principal)).get("embeddings", set())
    return sorted(str(PurePosixPath(name).with_suffix("")) for name in names)


async def _models(db: Database, principal: Principal) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _, inventory in await _machines(db, principal):
        for model in inventory.models:
            found.setdefault(model.folder, set()).add(model.name)
    return found


@get("/extensions", opt=SEES)
async def extensions() -> list[str]:
    """None: scripts of node packs stay on their machines."""
    return []


@get("/templates/index.json", opt=SEES)
async def templates() -> list[Any]:
    """No example workflows; the front end waits for the list."""
    return []


@get("/experiment/models", opt=SEES)
async def model_places(principal: Principal, db: Database) -> list[dict[str, Any]]:
    """The kinds of models, whose folders are each machine's own."""
    return [{"name": folder, "folders": []} for folder in sorted(await _models(db, principal))]


@get("/experiment/models/{folder:str}", opt=SEES)
async def models_at(folder: str, principal: Principal, db: Database) -> list[dict[str, Any]]:
    """The models of a kind, as the front end's library lists them."""
    found: dict[str, int] = {}
    for _, inventory in await _machines(db, principal):
        found |= {model.name: model.size for model in inventory.models if model.folder == folder}
    return [{"name": name, "pathIndex": 0, "size": size} for name, size in sorted(found.items())]


@get(["/i18n", "/workflow_templates"], opt=SEES)
async def nothing_more() -> dict[str, Any]:
    """No translations and no templates of node packs."""
    return {}


handlers: Final = [
    object_info,
    object_info_of,
    system_stats,
    features,
    model_folders,
    models_in,
    embeddings,
    extensions,
    templates,
    model_places,
    models_at,
    nothing_more,
]
