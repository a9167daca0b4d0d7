"""`nodes` as node packs import it: the table of node classes, every built-in class by its name, and a few functions.

The table is the executor's own: what a pack puts there exists from then on. Classes that need diffusion models can be
imported and subclassed; they refuse when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from comfy_core.offered.later import function
from comfy_core.packs.find import Pack
from comfy_core.packs.later import later_node
from comfy_core.packs.load import load
from comfy_core.packs.report import PackReport
from comfy_core.progress import stop_if_asked
from comfy_core.surface import attached

MAX_RESOLUTION = 16384
NODE_CLASS_MAPPINGS: dict[str, type] = attached().registry.classes
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = attached().registry.display_names
EXTENSION_WEB_DIRS: dict[str, str] = attached().additions.web
LOADED_MODULE_DIRS: dict[str, Path] = attached().additions.homes

_WITH_MODELS = {
    "CLIPLoader": "load_clip",
    "CLIPSetLastLayer": "set_last_layer",
    "CLIPTextEncode": "encode",
    "CLIPVisionEncode": "encode",
    "CLIPVisionLoader": "load_clip",
    "CheckpointLoader": "load_checkpoint",
    "CheckpointLoaderSimple": "load_checkpoint",
    "ConditioningAverage": "addWeighted",
    "ConditioningCombine": "combine",
    "ConditioningConcat": "concat",
    "ConditioningSetArea": "append",
    "ConditioningSetAreaPercentage": "append",
    "ConditioningSetAreaStrength": "append",
    "ConditioningSetMask": "append",
    "ConditioningSetTimestepRange": "set_range",
    "ConditioningZeroOut": "zero_out",
    "ControlNetApply": "apply_controlnet",
    "ControlNetApplyAdvanced": "apply_controlnet",
    "ControlNetLoader": "load_controlnet",
    "DiffControlNetLoader": "load_controlnet",
    "DiffusersLoader": "load_checkpoint",
    "DualCLIPLoader": "load_clip",
    "GLIGENLoader": "load_gligen",
    "GLIGENTextBoxApply": "append",
    "InpaintModelConditioning": "encode",
    "KSampler": "sample",
    "KSamplerAdvanced": "sample",
    "LoraLoader": "load_lora",
    "LoraLoaderModelOnly": "load_lora_model_only",
    "StyleModelApply": "apply_stylemodel",
    "StyleModelLoader": "load_style_model",
    "UNETLoader": "load_unet",
    "VAEDecode": "decode",
    "VAEDecodeTiled": "decode",
    "VAEEncode": "encode",
    "VAEEncodeForInpaint": "encode",
    "VAEEncodeTiled": "encode",
    "VAELoader": "load_vae",
    "unCLIPCheckpointLoader": "load_checkpoint",
    "unCLIPConditioning": "apply_adm",
}
"""Built-in classes that are not there yet -> their method."""

_OWN_MODULE = "nodes"
common_ksampler = function("nodes", "common_ksampler")


def __getattr__(name: str) -> Any:
    """A built-in class. Kept once it was asked for, so that what a pack does to it holds."""
    built_in = NODE_CLASS_MAPPINGS.get(name)
    if built_in is not None and getattr(built_in, "PYTHON_MODULE", None) == _OWN_MODULE:
        return built_in
    if name in _WITH_MODELS:
        return globals().setdefault(name, later_node(name, _WITH_MODELS[name]))
    raise AttributeError(f"module 'nodes' has no attribute {name!r}")


def _own_classes() -> Iterable[str]:
    there = (name for name, cls in NODE_CLASS_MAPPINGS.items() if getattr(cls, "PYTHON_MODULE", None) == _OWN_MODULE)
    return sorted({*there, *_WITH_MODELS})


def __dir__() -> list[str]:
    return sorted({*globals(), *_own_classes()})


__all__ = [name for name in globals() if not name.startswith("_")]
__all__ += [name for name in _own_classes() if name.isidentifier()]


def before_node_execution() -> None:
    """Raise when the running prompt is to stop."""
    stop_if_asked()


def interrupt_processing(value: bool = True) -> None:
    """Have the running prompt stop, or take that back."""
    queue = attached().queue
    if value:
        queue.interrupt()
    elif queue.running is not None:
        queue.running.stop.clear()


def get_module_name(module_path: str) -> str:
    """The name under which a pack is known: its folder's, or its file's without ending."""
    path = Path(module_path)
    return path.stem if path.suffix == ".py" else path.name


def _pack(module_path: str) -> Pack:
    path = Path(module_path).resolve()
    return Pack(path, PackReport(get_module_name(str(path)), str(path)))


async def load_custom_node(
    module_path: str,
    ignore: Iterable[str] = frozenset(),
    module_parent: str = "custom_nodes",
) -> bool:
    """Import one more pack. ignore: names of classes it may not bring. Whether it is there now."""
    pack = _pack(module_path)
    attached().additions.packs.append(pack)
    await load(attached(), pack, frozenset(ignore))
    return pack.report.status == "loaded"
