"""Nodes on batches of images: cut frames out, repeat them, measure them. They change no pixel."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from comfy_core.memory import require
from comfy_core.registry import BuiltIn

MODULE = "comfy_extras.nodes_images"
MOST = 4096


class RepeatImageBatch(BuiltIn):
    """The whole batch several times over."""

    CATEGORY = "image/batch"
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"image": ("IMAGE",), "amount": ("INT", {"default": 1, "min": 1, "max": MOST})}}

    def repeat(self, image: torch.Tensor, amount: int) -> tuple[torch.Tensor]:
        """[B, H, W, C] to [B * amount, H, W, C]."""
        require(image.nbytes * amount, f"repeating a batch {amount} times")
        return (image.repeat((amount, 1, 1, 1)),)


class ImageFromBatch(BuiltIn):
    """Some frames of a batch."""

    CATEGORY = "image/batch"
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "frombatch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "image": ("IMAGE",),
                "batch_index": ("INT", {"default": 0, "min": 0, "max": MOST - 1}),
                "length": ("INT", {"default": 1, "min": 1, "max": MOST}),
            }
        }

    def frombatch(self, image: torch.Tensor, batch_index: int, length: int) -> tuple[torch.Tensor]:
        """At least one frame: an index past the end means the last."""
        first = min(image.shape[0] - 1, batch_index)
        return (image[first : first + length].clone(),)


class GetImageSize(BuiltIn):
    """Width, height and number of frames."""

    DISPLAY_NAME = "Get Image Size"
    DESCRIPTION = "Width, height and number of images of a batch."
    CATEGORY = "image"
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("INT", "INT", "INT")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("width", "height", "batch_size")
    FUNCTION = "get_size"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"image": ("IMAGE",)}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def get_size(self, image: torch.Tensor, unique_id: str | None = None) -> tuple[int, int, int]:
        """In this order."""
        return image.shape[2], image.shape[1], image.shape[0]


NODES = (RepeatImageBatch, ImageFromBatch, GetImageSize)
