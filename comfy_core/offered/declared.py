"""What built-in nodes that need models take and give, for packs that build their own on them. It runs nothing.

`nodes.json` holds names, types, defaults and ranges; lists of files, samplers and schedules are put in here.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from comfy_core.folders import Folders
from comfy_core.offered.schedules import OTHER_SAMPLERS, SAMPLERS, SCHEDULES

KINDS = {
    "ckpt_name": "checkpoints",
    "config_name": "configs",
    "control_net_name": "controlnet",
    "gligen_name": "gligen",
    "lora_name": "loras",
    "style_model_name": "style_models",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
    "model_path": "diffusers",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
}
"""Which files an input of this name lists."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One node's interface."""

    class_type: str
    input: dict[str, dict[str, Any]]
    output: list[str]
    output_name: list[str]
    category: str

    def inputs(self, folders: Folders) -> dict[str, dict[str, Any]]:
        """INPUT_TYPES as it is now: with the files there are."""
        groups = copy.deepcopy(self.input)
        for group in groups.values():
            for name, spec in group.items():
                if isinstance(spec, list):
                    group[name] = (self._options(name, spec[0], folders), *spec[1:])
        return groups

    def _options(self, name: str, kind: Any, folders: Folders) -> Any:
        if kind == "SAMPLERS":
            return [*SAMPLERS, *OTHER_SAMPLERS]
        if kind == "SCHEDULERS":
            return list(SCHEDULES)
        if not isinstance(kind, list) or name not in KINDS:
            return kind
        listed = folders.model_names("clip_vision" if self.class_type == "CLIPVisionLoader" else KINDS[name])
        return [*listed, "pixel_space"] if name == "vae_name" else listed


@cache
def declared() -> dict[str, Declared]:
    """Every interface that is known, by class_type."""
    read = json.loads(files(__package__).joinpath("nodes.json").read_text(encoding="utf-8"))
    return {name: Declared(name, **facts) for name, facts in read.items()}
