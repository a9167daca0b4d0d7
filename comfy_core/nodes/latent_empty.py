"""Nodes that begin with an empty latent, one per family of models. They know the families' grids, not the models."""

from __future__ import annotations

from typing import Any

import torch

from comfy_core.memory import require
from comfy_core.registry import BuiltIn

MAX_SIDE = 16384
MOST_FRAMES = 4096
BYTES = 4
CELL = 8
STABLE_AUDIO_RATE = 44100
STABLE_AUDIO_HOP = 2048

Latent = dict[str, Any]


def empty(*shape: int, what: str) -> torch.Tensor:
    """Zeros of float32. Raises OutOfMemory before it takes more than is free."""
    count = BYTES
    for side in shape:
        count *= side
    require(count, what)
    return torch.zeros(shape)


def side(default: int, least: int, step: int) -> tuple[str, dict[str, Any]]:
    """A width or height in pixels."""
    return "INT", {"default": default, "min": least, "max": MAX_SIDE, "step": step}


def batch_size() -> tuple[str, dict[str, Any]]:
    """How many latents."""
    return "INT", {"default": 1, "min": 1, "max": MOST_FRAMES}


class EmptyLatentImage(BuiltIn):
    """Zeros for models with 4 channels and cells of 8 pixels."""

    DISPLAY_NAME = "Empty Latent Image"
    DESCRIPTION = "A blank latent for a sampler to fill."
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Zeros of that size.",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"width": side(512, 16, 8), "height": side(512, 16, 8), "batch_size": batch_size()}}

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[Latent]:
        """[B, 4, height / 8, width / 8]."""
        return ({"samples": empty(batch_size, 4, height // CELL, width // CELL, what="EmptyLatentImage")},)


class EmptyHunyuanLatentVideo(BuiltIn):
    """Zeros for video models with 16 channels that fold four frames into one."""

    CATEGORY = "latent/video"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "width": side(848, 16, 16),
                "height": side(480, 16, 16),
                "length": ("INT", {"default": 25, "min": 1, "max": MAX_SIDE, "step": 4}),
                "batch_size": batch_size(),
            }
        }

    def generate(self, width: int, height: int, length: int, batch_size: int = 1) -> tuple[Latent]:
        """[B, 16, (length - 1) / 4 + 1, height / 8, width / 8]."""
        frames = (length - 1) // 4 + 1
        return ({"samples": empty(batch_size, 16, frames, height // CELL, width // CELL, what="the empty video")},)


class EmptyHunyuanImageLatent(BuiltIn):
    """Zeros for models with 64 channels and cells of 32 pixels."""

    CATEGORY = "latent"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"width": side(2048, 64, 32), "height": side(2048, 64, 32), "batch_size": batch_size()}}

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[Latent]:
        """[B, 64, height / 32, width / 32]."""
        return ({"samples": empty(batch_size, 64, height // 32, width // 32, what="EmptyHunyuanImageLatent")},)


class EmptyLatentAudio(BuiltIn):
    """Zeros for Stable Audio: 64 channels, one step per 2048 samples at 44.1 kHz, an even number of steps."""

    DISPLAY_NAME = "Empty Latent Audio"
    CATEGORY = "latent/audio"
    PYTHON_MODULE = "comfy_extras.nodes_audio"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        seconds = {"default": 47.6, "min": 1.0, "max": 1000.0, "step": 0.1}
        return {"required": {"seconds": ("FLOAT", seconds), "batch_size": batch_size()}}

    def generate(self, seconds: float, batch_size: int) -> tuple[Latent]:
        """[B, 64, steps]."""
        steps = round(seconds * STABLE_AUDIO_RATE / STABLE_AUDIO_HOP / 2) * 2
        return ({"samples": empty(batch_size, 64, steps, what="EmptyLatentAudio"), "type": "audio"},)


class EmptyLatentHunyuan3Dv2(BuiltIn):
    """Zeros for shapes: 64 channels, as many points as asked for."""

    CATEGORY = "latent/3d"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan3d"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        resolution = {"default": 3072, "min": 1, "max": 8192}
        return {"required": {"resolution": ("INT", resolution), "batch_size": batch_size()}}

    def generate(self, resolution: int, batch_size: int) -> tuple[Latent]:
        """[B, 64, resolution]."""
        return ({"samples": empty(batch_size, 64, resolution, what="EmptyLatentHunyuan3Dv2"), "type": "hunyuan3dv2"},)


NODES: tuple[type[BuiltIn], ...] = (
    EmptyLatentImage,
    EmptyHunyuanLatentVideo,
    EmptyHunyuanImageLatent,
    EmptyLatentAudio,
    EmptyLatentHunyuan3Dv2,
)
