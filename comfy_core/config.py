"""The command line and the environment of the executor, read once. It starts nothing.

All of ComfyUI's flags are taken; those without a meaning here are named in a warning and ignored.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders, standard_models

VERSION = "0.3.64"
"""The ComfyUI release whose interface is spoken."""

IGNORED_SWITCHES = re.findall(
    r"\S+",
    """
    auto-launch disable-auto-launch cuda-malloc disable-cuda-malloc force-fp32 force-fp16 fp32-unet fp64-unet bf16-unet
    fp16-unet fp8_e4m3fn-unet fp8_e5m2-unet fp8_e8m0fnu-unet fp16-vae fp32-vae bf16-vae cpu-vae fp8_e4m3fn-text-enc
    fp8_e5m2-text-enc fp16-text-enc fp32-text-enc bf16-text-enc force-channels-last disable-ipex-optimize
    supports-fp8-compute use-split-cross-attention use-quad-cross-attention use-pytorch-cross-attention
    use-sage-attention use-flash-attention disable-xformers force-upcast-attention dont-upcast-attention gpu-only
    highvram normalvram lowvram novram async-offload force-non-blocking disable-smart-memory deterministic
    mmap-torch-files disable-mmap dont-print-server quick-test-for-ci disable-api-nodes
    multi-user log-stdout enable-compress-response-body cache-classic
""",
)
IGNORED_VALUES = re.findall(
    r"\S+",
    """
    tls-keyfile tls-certfile cuda-device default-device directml oneapi-device-selector preview-method preview-size
    reserve-vram default-hashing-function fast verbose front-end-version front-end-root
    user-directory comfy-api-base database-url cache-ram
""",
)


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
    """What the executor was told. keep: results kept beyond their prompt; None keeps none between prompts."""

    hosts: list[str]
    port: int
    folders: Folders
    cpu: bool
    keep: int | None
    threads: int | None
    cors_origin: str | None
    max_upload_mb: float
    metadata: bool
    die_with_parent: bool
    ignored: list[str]
    argv: list[str]
    packs: PackSettings


def read_settings(argv: Sequence[str]) -> Settings:
    """Read the command line. Raises InputRefused for a models file that cannot be read; argparse ends on bad flags."""
    given, unknown = _parser().parse_known_args(argv)
    used = vars(given)
    ignored = [name for name in (*IGNORED_SWITCHES, *IGNORED_VALUES) if used[_attribute(name)] is not None]
    return Settings(
        hosts=[host for host in given.listen.split(",") if host],
        port=given.port,
        folders=_folders(given),
        cpu=given.cpu,
        keep=None if given.cache_none else given.cache_lru,
        threads=given.threads if given.threads is not None else _threads(),
        cors_origin=given.enable_cors_header,
        max_upload_mb=given.max_upload_size,
        metadata=not given.disable_metadata,
        die_with_parent=given.die_with_parent,
        ignored=[*(f"--{name}" for name in ignored), *unknown],
        argv=list(argv),
        packs=_packs(given),
    )


def _attribute(flag: str) -> str:
    return "ignored_" + flag.replace("-", "_")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m comfy_core", allow_abbrev=False)
    add = parser.add_argument
    add("--listen", nargs="?", default="127.0.0.1", const="0.0.0.0,::", help="addresses to bind, comma separated")
    add("--port", type=int, default=8188, help="0 takes a free port and logs it")
    add("--base-directory", type=Path, default=Path())
    add("--models-directory", type=Path, action="append", help="holds checkpoints/, upscale_models/ ...; repeatable")
    add("--input-directory", type=Path)
    add("--output-directory", type=Path)
    add("--temp-directory", type=Path, help="a folder temp/ is made, and wiped, inside")
    add("--extra-model-paths-config", nargs="+", action="append", type=Path, default=[])
    add("--cpu", action="store_true")
    add("--threads", type=int, help="threads for arithmetic; OMP_NUM_THREADS when absent")
    add("--cache-lru", type=int, default=0)
    add("--cache-none", action="store_true")
    add("--enable-cors-header", nargs="?", const="*")
    add("--max-upload-size", type=float, default=100, help="MiB")
    add("--disable-metadata", action="store_true")
    add("--custom-nodes", nargs="+", action="append", type=Path, default=[], help="node packs: folders or .py files")
    add("--disable-all-custom-nodes", action="store_true", help="load no node pack")
    add("--whitelist-custom-nodes", nargs="+", default=[], help="packs to load even so, by name")
    add("--pack-import-timeout", type=float, default=60.0, help="seconds after which a pack's import is given up")
    add("--version", action="version", version=f"comfy_core, speaking ComfyUI {VERSION}")
    add("--die-with-parent", action="store_true", help="end when the process that started this one does")
    for name in IGNORED_SWITCHES:
        add(f"--{name}", dest=_attribute(name), action="store_const", const=True, help=argparse.SUPPRESS)
    for name in IGNORED_VALUES:
        add(f"--{name}", dest=_attribute(name), nargs="*", help=argparse.SUPPRESS)
    return parser


def _packs(given: argparse.Namespace) -> PackSettings:
    return PackSettings(
        named=[path.resolve() for several in given.custom_nodes for path in several],
        disabled=given.disable_all_custom_nodes,
        allowed=frozenset(given.whitelist_custom_nodes),
        timeout=given.pack_import_timeout,
    )


def _threads() -> int | None:
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else None


def _folders(given: argparse.Namespace) -> Folders:
    base = given.base_directory.resolve()
    folders = Folders(
        base=base,
        input=(given.input_directory or base / "input").resolve(),
        output=(given.output_directory or base / "output").resolve(),
        temp=(given.temp_directory or base).resolve() / "temp",
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
