"""Nodes that cut a list of image batches anew. They know nothing of latents."""

from __future__ import annotations

import torch

from comfy_core.errors import InputRefused
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io


class RebatchImages(BuiltIn, io.ComfyNode):
    """A list of batches cut anew into batches of one size; only the last may be smaller."""

    PYTHON_MODULE = "comfy_extras.nodes_rebatch"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Lists in, a list out."""
        return io.Schema(
            node_id="RebatchImages",
            display_name="Rebatch Images",
            category="image/batch",
            inputs=[io.Image.Input("images"), io.Int.Input("batch_size", default=1, min=1, max=4096)],
            outputs=[io.Image.Output(is_output_list=True)],
            is_input_list=True,
        )

    @classmethod
    def execute(cls, images: list[torch.Tensor], batch_size: list[int]) -> io.NodeOutput:
        """Each of [B, H, W, C]; frames of other sizes than their neighbours cannot share a batch."""
        frames = [frame for image in images for frame in image]
        size = batch_size[0]
        return io.NodeOutput([_stacked(frames[start : start + size]) for start in range(0, len(frames), size)])


def _stacked(frames: list[torch.Tensor]) -> torch.Tensor:
    shapes = {tuple(frame.shape) for frame in frames}
    if len(shapes) > 1:
        raise InputRefused(f"images of different sizes cannot share a batch: {sorted(shapes)}")
    return torch.stack(frames)


NODES = (RebatchImages,)
