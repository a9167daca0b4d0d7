"""Nodes that save a latent to a file and load it again. They know safetensors, not what the numbers mean.

The file holds `latent_tensor`, and an empty tensor `latent_format_version_0` that says the values are in VAE units; a
file without it is older and holds values that Stable Diffusion 1's factor was already applied to.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from comfy_core.errors import ExecutorError, InputRefused
from comfy_core.memory import require
from comfy_core.nodes.saving import place_for
from comfy_core.registry import BuiltIn

ENDING = "latent"
TENSOR = "latent_tensor"
MARKER = "latent_format_version_0"
OLD_FACTOR = 0.18215

Latent = dict[str, Any]


class SaveLatent(BuiltIn):
    """A safetensors file in the output folder, with the workflow in its header."""

    CATEGORY = "_for_testing"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {"samples": ("LATENT",), "filename_prefix": ("STRING", {"default": "latents/ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(
        self,
        samples: Latent,
        filename_prefix: str = "ComfyUI",
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write <prefix>_<counter>_.latent."""
        place = place_for(filename_prefix, self.services.folders.of_kind("output"))
        name, path = place.next(0, ENDING)
        header = self._header(prompt, extra_pnginfo) if self.services.metadata else None
        tensors = {TENSOR: samples["samples"].contiguous(), MARKER: torch.tensor([])}
        save_file(tensors, path, metadata=header)
        return {"ui": {"latents": [{"filename": name, "subfolder": place.subfolder, "type": "output"}]}}

    @staticmethod
    def _header(prompt: Any, extra: dict[str, Any] | None) -> dict[str, str]:
        header = {"prompt": "" if prompt is None else json.dumps(prompt)}
        return header | {key: json.dumps(value) for key, value in (extra or {}).items()}


class LoadLatent(BuiltIn):
    """A saved latent of the input folder."""

    LISTS_FILES = True
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        names = [name for name in cls.services.folders.input_names() if name.endswith("." + ENDING)]
        return {"required": {"latent": [names]}}

    def load(self, latent: str) -> tuple[Latent]:
        """The samples as float32."""
        return ({"samples": read_latent(self.services.folders.find_annotated(latent), latent)},)

    @classmethod
    def IS_CHANGED(cls, latent: str) -> str:  # noqa: N802
        """The content decides, not the name."""
        with cls.services.folders.find_annotated(latent).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, latent: str | None) -> bool | str:  # noqa: N802
        """The file must exist, inside its folder."""
        try:
            found = latent is None or cls.services.folders.find_annotated(latent).is_file()
        except (ExecutorError, OSError):
            found = False
        return True if found else f"Invalid latent file: {latent}"


def read_latent(path: Path, name: str) -> torch.Tensor:
    """The samples of a file. Raises InputRefused for one that is not a saved latent."""
    try:
        require(path.stat().st_size * 2, f"reading {name}")
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputRefused(f"{name} is not a saved latent: {str(error)[:200]}") from error
    if TENSOR not in tensors:
        raise InputRefused(f"{name} holds no {TENSOR}")
    samples = tensors[TENSOR].float()
    return samples if MARKER in tensors else samples * (1.0 / OLD_FACTOR)


NODES = (SaveLatent, LoadLatent)
