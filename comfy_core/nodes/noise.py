"""The node that adds noise to an image."""

from __future__ import annotations

from typing import Any

import torch

from comfy_core.memory import require
from comfy_core.registry import BuiltIn


class ImageAddNoise(BuiltIn):
    """Normal noise from a seed."""

    CATEGORY = "image"
    PYTHON_MODULE = "comfy_extras.nodes_images"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
        strength = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}
        return {"required": {"image": ("IMAGE",), "seed": ("INT", seed), "strength": ("FLOAT", strength)}}

    def repeat(self, image: torch.Tensor, seed: int, strength: float) -> tuple[torch.Tensor]:
        """Drawn on the CPU, so that a seed means the same everywhere; clamped to 0..1."""
        require(image.nbytes * 2, "the noise")
        noise = torch.randn(image.shape, generator=torch.manual_seed(seed), dtype=torch.float32)
        return ((image + strength * noise.to(image)).clamp(0.0, 1.0),)


NODES = (ImageAddNoise,)
