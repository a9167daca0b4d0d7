"""What this machine has: GPUs, memory, node classes, models with hashes, versions. It does not know who asks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import structlog
from msgspec import structs

from drivers.object_info import Packed, pack
from drivers.wire import Gpu, Inventory, ModelFile, NodePack
from machine_agent import VERSION
from machine_agent.comfy import Comfy
from machine_agent.executor import Executor
from machine_agent.translate import translatable

_MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".gguf", ".onnx", ".pkl"})
_REASON_CHARACTERS = 2_000
_Hashes = dict[str, tuple[int, int, str]]  # path -> modification time in ns, size, sha256
_log = structlog.get_logger()


async def find_gpus() -> list[Gpu]:
    """The CUDA devices that nvidia-smi reports; none when there is no nvidia-smi."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nvidia-smi",
            "--query-gpu=name,memory.total",
            "--format=csv,noheader,nounits",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(30):
            answer, _ = await process.communicate()
    except (OSError, TimeoutError):
        return []
    return parse_gpus(answer.decode(errors="replace")) if process.returncode == 0 else []


def parse_gpus(answer: str) -> list[Gpu]:
    """Devices from nvidia-smi's lines `name, MiB`. A size it does not know counts as 0."""
    gpus = []
    for line in answer.splitlines():
        name, _, mebibytes = line.rpartition(",")
        size = mebibytes.strip()
        if name.strip():
            gpus.append(Gpu(name=name.strip(), vram=int(size) * 1024 * 1024 if size.isdigit() else 0))
    return gpus


def visible(gpus: list[Gpu], devices: list[str] | None) -> list[Gpu]:
    """Those of the devices that CUDA_VISIBLE_DEVICES leaves (None: it is not set); named by UUID, as many as it has."""
    if devices is None:
        return gpus
    if all(device.isdecimal() for device in devices):
        return [gpus[int(device)] for device in devices if int(device) < len(gpus)]
    return gpus[: len(devices)]


def bare(gpus: list[Gpu]) -> Inventory:
    """The inventory before an executor has answered and models were looked at."""
    devices = gpus or [Gpu(name=platform.processor() or platform.machine() or "CPU", kind="cpu")]
    versions = {"agent": VERSION, "agent_python": platform.python_version()}
    ram = int(psutil.virtual_memory().total)
    return Inventory(gpus=devices, versions=versions, ram=ram, cpus=os.cpu_count() or 1)


class Inspector:
    """Looks at the machine again and again; hashes are kept in `store` between starts."""

    def __init__(self, session: aiohttp.ClientSession, models: Path, store: Path, gpus: list[Gpu]) -> None:
        self._session = session
        self._models = models
        self._store = store
        self._hashes = _load(store)
        self.inventory = bare(gpus)
        self.object_info = Packed()

    async def look(self, executor: Executor, *, hashed: bool) -> bool:
        """Look at the executor and the models; True when something changed. Unless `hashed`, new files have no hash."""
        found = self.inventory
        if executor.ours:
            found = structs.replace(found, models=await asyncio.to_thread(self._find_models, hashed=hashed))
        if executor.is_up:
            found = await self._ask(executor, found)
        changed = found != self.inventory
        self.inventory = found
        return changed

    async def _ask(self, executor: Executor, found: Inventory) -> Inventory:
        comfy = Comfy(self._session, executor.url)
        try:
            declared = await comfy.declared()
            system = await comfy.system_stats()
            packs = [_short(pack) for pack in await comfy.packs()]
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            _log.warning("executor_unreadable", slot=executor.index, error=str(error) or type(error).__name__)
            return found
        classes = sorted({*declared, *translatable(declared)})
        self.object_info = await asyncio.to_thread(pack, declared)
        found = await self._elsewhere(executor, found)
        versions = {**found.versions, **_versions(system)}
        return structs.replace(
            found,
            node_classes=classes,
            versions=versions,
            packs=packs,
            object_info=self.object_info.hash,
        )

    async def _elsewhere(self, executor: Executor, found: Inventory) -> Inventory:
        """What an executor has that is not this machine's own."""
        try:
            models, gpus = await executor.models(), await executor.gpus()
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
            _log.warning("executor_unreadable", slot=executor.index, error=str(error) or type(error).__name__)
            return found
        return structs.replace(
            found, models=found.models if models is None else models, gpus=found.gpus if gpus is None else gpus
        )

    def _find_models(self, *, hashed: bool) -> list[ModelFile]:
        found = []
        for folder in sorted(path for path in _entries(self._models) if path.is_dir()):
            files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _MODEL_SUFFIXES]
            found += [self._describe(folder, path, hashed=hashed) for path in files if path.is_file()]
        if hashed:
            self._save()
        return found

    def _describe(self, folder: Path, path: Path, *, hashed: bool) -> ModelFile:
        stat = path.stat()
        known = self._hashes.get(str(path))
        sha256 = known[2] if known is not None and known[:2] == (stat.st_mtime_ns, stat.st_size) else None
        if sha256 is None and hashed:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._hashes[str(path)] = (stat.st_mtime_ns, stat.st_size, sha256)
        name = path.relative_to(folder).as_posix()
        return ModelFile(folder=folder.name, name=name, size=stat.st_size, sha256=sha256)

    def _save(self) -> None:
        self._hashes = {path: known for path, known in self._hashes.items() if Path(path).exists()}
        fresh = self._store.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._hashes))
        fresh.replace(self._store)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _load(store: Path) -> _Hashes:
    try:
        return msgspec.json.decode(store.read_bytes(), type=_Hashes)
    except (OSError, msgspec.MsgspecError):
        return {}


def _short(pack: NodePack) -> NodePack:
    """A reason ends in a traceback; its beginning says what is wrong."""
    return structs.replace(pack, reason=pack.reason and pack.reason[:_REASON_CHARACTERS])


def _versions(system: dict[str, Any]) -> dict[str, str]:
    names = {"comfyui_version": "comfyui", "python_version": "python", "pytorch_version": "torch"}
    return {name: str(system[key]) for key, name in names.items() if system.get(key)}
