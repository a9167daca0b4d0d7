"""What the executor was told, by the command line and the environment, read once. It starts nothing.

`flags` knows the names; here they become settings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from comfy_core import flags
from comfy_core.errors import InputRefused
from comfy_core.flags import VERSION as VERSION
from comfy_core.flags import Flags, Vram
from comfy_core.folders import Folders, standard_models
from comfy_core.limits import Keep, Limits, gigabytes

CacheKind = Literal["classic", "lru", "none", "ram"]
MIB = 1024 * 1024
KEEP: dict[Vram, Keep] = {
    "gpu-only": "only_on_device",
    "highvram": "on_device",
    "normalvram": "as_room_allows",
    "lowvram": "while_used",
    "novram": "while_used",
}


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Which results outlive their prompt. entries: of lru; free_gb: of ram, the memory to keep free."""

    kind: CacheKind = "classic"
    entries: int = 0
    free_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Where the server listens and what it lets in. max_upload: bytes of a request's body."""

    hosts: list[str]
    port: int
    cors_origin: str | None
    max_upload: int
    compress: bool
    tls_key: Path | None
    tls_certificate: Path | None
    front_end: Path | None
    multi_user: bool


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What is computed on. visible: as CUDA_VISIBLE_DEVICES has it; index: of the GPU among those that are visible."""

    cpu: bool
    visible: str | None
    index: int
    limits: Limits
    threads: int | None


@dataclass(frozen=True, slots=True)
class PackSettings:
    """Which node packs are let in. named: packs given one by one. timeout: seconds an import may take.

    disabled leaves out all but those whose name is in `allowed`.
    """

    named: list[Path]
    disabled: bool
    allowed: frozenset[str]
    timeout: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What the executor was told. flags: all of them as they were given; preview_size: pixels of the longest side."""

    network: NetworkSettings
    folders: Folders
    device: DeviceSettings
    cache: CacheSettings
    packs: PackSettings
    metadata: bool
    preview_method: str
    preview_size: int
    log_level: str
    log_stdout: bool
    die_with_parent: bool
    quick_test: bool
    ignored: list[str]
    argv: list[str]
    flags: Flags


def read_settings(argv: Sequence[str]) -> Settings:
    """Read the command line. Raises InputRefused for a models file that cannot be read; argparse ends on bad flags."""
    given, unknown = flags.read(argv)
    return Settings(
        network=_network(given),
        folders=_folders(given),
        device=_device(given),
        cache=_cache(given),
        packs=_packs(given),
        metadata=not given.disable_metadata,
        preview_method=given.preview_method,
        preview_size=given.preview_size,
        log_level=given.verbose,
        log_stdout=given.log_stdout,
        die_with_parent=given.die_with_parent,
        quick_test=given.quick_test_for_ci,
        ignored=[*given.unheard, *unknown],
        argv=list(argv),
        flags=given,
    )


def show_gpus(settings: Settings) -> None:
    """Have torch, which is imported later, see only the GPUs that were asked for."""
    if settings.device.visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.device.visible


def _network(given: Flags) -> NetworkSettings:
    if (given.tls_keyfile is None) != (given.tls_certfile is None):
        raise InputRefused("--tls-keyfile and --tls-certfile belong together")
    front_end = given.front_end_root
    if front_end is not None and not (front_end / "index.html").is_file():
        raise InputRefused(f"--front-end-root: there is no index.html in {front_end}")
    return NetworkSettings(
        hosts=[host for host in given.listen.split(",") if host],
        port=given.port,
        cors_origin=given.enable_cors_header,
        max_upload=int(given.max_upload_size * MIB),
        compress=given.enable_compress_response_body,
        tls_key=given.tls_keyfile,
        tls_certificate=given.tls_certfile,
        front_end=front_end.resolve() if front_end is not None else None,
        multi_user=given.multi_user,
    )


def _device(given: Flags) -> DeviceSettings:
    return DeviceSettings(
        cpu=given.cpu,
        visible=given.cuda_device,
        index=given.default_device or 0,
        limits=_limits(given),
        threads=given.threads if given.threads is not None else _threads(),
    )


def _limits(given: Flags) -> Limits:
    mode = flags.vram(given)
    return Limits(
        ram=gigabytes(given.ram_limit),
        vram=gigabytes(given.vram_limit),
        reserve=gigabytes(given.reserve_vram) or 0,
        keep=KEEP["lowvram" if given.disable_smart_memory and mode == "normalvram" else mode],
    )


def _cache(given: Flags) -> CacheSettings:
    if given.cache_none:
        return CacheSettings("none")
    if given.cache_ram is not None:
        return CacheSettings("ram", free_gb=given.cache_ram)
    return CacheSettings("lru", given.cache_lru) if given.cache_lru > 0 else CacheSettings()


def _packs(given: Flags) -> PackSettings:
    return PackSettings(
        named=[path.resolve() for several in given.custom_nodes for path in several],
        disabled=given.disable_all_custom_nodes,
        allowed=frozenset(given.whitelist_custom_nodes),
        timeout=given.pack_import_timeout,
    )


def _threads() -> int | None:
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else None


def _folders(given: Flags) -> Folders:
    base = given.base_directory.resolve()
    folders = Folders(
        base=base,
        input=(given.input_directory or base / "input").resolve(),
        output=(given.output_directory or base / "output").resolve(),
        temp=(given.temp_directory or base).resolve() / "temp",
        user=(given.user_directory or base / "user").resolve(),
        models=standard_models([root.resolve() for root in given.models_directory or [base / "models"]], base),
    )
    for path in [path for several in given.extra_model_paths_config for path in several]:
        _add_extra_models(folders, path)
    return folders


def _add_extra_models(folders: Folders, path: Path) -> None:
    """Add the folders of a ComfyUI extra_model_paths file; relative ones are seen from the file's own folder."""
    yaml = import_module("yaml")
    try:
        sections = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputRefused(f"cannot read {path}: {error}") from error
    if not isinstance(sections, dict):
        raise InputRefused(f"{path} is not a mapping of sections")
    for section in sections.values():
        if isinstance(section, dict):
            _add_section(folders, path.resolve().parent, section)


def _add_section(folders: Folders, home: Path, section: dict[str, Any]) -> None:
    root = home / Path(str(section.get("base_path", ""))).expanduser()
    for kind, names in section.items():
        if kind in ("base_path", "is_default"):
            continue
        for name in str(names).splitlines():
            if name.strip():
                folders.add_models(kind, (root / name.strip()).resolve())
