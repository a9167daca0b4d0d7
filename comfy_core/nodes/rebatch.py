"""Nodes that cut a list of image batches anew. They know nothing of latents."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.registry import BuiltIn


class RebatchImages(BuiltIn):
    """A list of batches cut anew into batches of one size; only the last may be smaller."""

    DISPLAY_NAME = "Rebatch Images"
    CATEGORY = "image/batch"
    PYTHON_MODULE = "comfy_extras.nodes_rebatch"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "rebatch"
    INPUT_IS_LIST = True
    OUTPUT_IS_LIST: ClassVar[tuple[bool, ...]] = (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        size = {"default": 1, "min": 1, "max": 4096}
        return {"required": {"images": ("IMAGE",), "batch_size": ("INT", size)}}

    def rebatch(self, images: list[torch.Tensor], batch_size: list[int]) -> tuple[list[torch.Tensor]]:
        """Each of [B, H, W, C]; frames of other sizes than their neighbours cannot share a batch."""
        frames = [frame for image in images for frame in image]
        size = batch_size[0]
        return ([_stacked(frames[start : start + size]) for start in range(0, len(frames), size)],)


def _stacked(frames: list[torch.Tensor]) -> torch.Tensor:
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) > 1:
        raise InputRefused(f"images of different sizes cannot share a batch: {sorted(shapes)}")
    return torch.stack(frames)


NODES = (RebatchImages,)
