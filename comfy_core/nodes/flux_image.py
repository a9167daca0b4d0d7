"""Nodes that prepare images for a model's liking. They know the sizes a model was trained on, not the model."""

from __future__ import annotations

import torch

from comfy_core.nodes.resize import resize
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

KONTEXT_SIZES = (
    (672, 1568),
    (688, 1504),
    (720, 1456),
    (752, 1392),
    (800, 1328),
    (832, 1248),
    (880, 1184),
    (944, 1104),
    (1024, 1024),
    (1104, 944),
    (1184, 880),
    (1248, 832),
    (1328, 800),
    (1392, 752),
    (1456, 720),
    (1504, 688),
    (1568, 672),
)
"""(width, height) that FLUX.1 Kontext was trained on, as Black Forest Labs published them."""


class FluxKontextImageScale(BuiltIn, io.ComfyNode):
    """Scaled to the size nearest in proportions among those Flux Kontext was trained on."""

    PYTHON_MODULE = "comfy_extras.nodes_flux"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image."""
        return io.Schema(
            node_id="FluxKontextImageScale",
            category="advanced/conditioning/flux",
            description="Scales an image to a size that suits Flux Kontext.",
            inputs=[io.Image.Input("image")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        """By Lanczos, cut at the centre."""
        proportions = image.shape[2] / image.shape[1]
        width, height = min(KONTEXT_SIZES, key=lambda size: abs(size[0] / size[1] - proportions))
        return io.NodeOutput(resize(image, width, height, "lanczos", crop=True))


NODES = (FluxKontextImageScale,)
