"""Operations on latents that are values themselves, and the node that applies one. They know no model.

An operation is called as `operation(latent=samples)` and returns samples of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from comfy_core.nodes.latent import Latent
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

CATEGORY = "latent/advanced/operations"
TINY = 1e-10
DEVIATIONS = 5.0
LUMINANCE_FLOOR = 1e-6


class Operations(BuiltIn, io.ComfyNode):
    """Base of the nodes of this theme. Not a node itself."""

    PYTHON_MODULE = "comfy_extras.nodes_latent"


class LatentApplyOperation(Operations):
    """The latent after an operation."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LatentApplyOperation",
            category=CATEGORY,
            is_experimental=True,
            inputs=[io.Latent.Input("samples"), io.LatentOperation.Input("operation")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: Latent, operation: Callable[..., torch.Tensor]) -> io.NodeOutput:
        """Applied at once, to the whole batch."""
        return io.NodeOutput({**samples, "samples": operation(latent=samples["samples"])})


class LatentOperationTonemapReinhard(Operations):
    """Compress what is far brighter than the rest: Reinhard et al. 2002, x / (x + 1), on each cell's length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LatentOperationTonemapReinhard",
            category=CATEGORY,
            is_experimental=True,
            inputs=[io.Float.Input("multiplier", default=1.0, min=0.0, max=100.0, step=0.01)],
            outputs=[io.LatentOperation.Output()],
        )

    @classmethod
    def execute(cls, multiplier: float) -> io.NodeOutput:
        """The top of the scale lies five deviations above the mean length, times the multiplier."""

        def tonemap(latent: torch.Tensor, **_: Any) -> torch.Tensor:
            length = torch.linalg.vector_norm(latent, dim=1, keepdim=True) + TINY
            mean, deviation = (of(length, dim=(1, 2, 3), keepdim=True) for of in (torch.mean, torch.std))
            top = (deviation * DEVIATIONS + mean) * multiplier
            scaled = length / top
            made: torch.Tensor = latent / length * (scaled / (scaled + 1.0)) * top
            return made

        return io.NodeOutput(tonemap)


class LatentOperationSharpen(Operations):
    """Sharpen by what a Gaussian blur takes away, on each cell's direction; its length stays."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LatentOperationSharpen",
            category=CATEGORY,
            is_experimental=True,
            inputs=[
                io.Int.Input("sharpen_radius", default=9, min=1, max=31, step=1),
                io.Float.Input("sigma", default=1.0, min=0.1, max=10.0, step=0.1),
                io.Float.Input("alpha", default=0.1, min=0.0, max=5.0, step=0.01),
            ],
            outputs=[io.LatentOperation.Output()],
        )

    @classmethod
    def execute(cls, sharpen_radius: int, sigma: float, alpha: float) -> io.NodeOutput:
        """alpha: how much of the difference is added, ten times."""
        kernel = _sharpening(sharpen_radius, sigma, alpha)

        def sharpen(latent: torch.Tensor, **_: Any) -> torch.Tensor:
            length = torch.linalg.vector_norm(latent, dim=1, keepdim=True) + LUMINANCE_FLOOR
            channels = latent.shape[1]
            weight = kernel.to(latent).repeat(channels, 1, 1).unsqueeze(1)
            padded = torch.nn.functional.pad(latent / length, (sharpen_radius,) * 4, mode="reflect")
            made: torch.Tensor = torch.nn.functional.conv2d(padded, weight, groups=channels) * length
            return made

        return io.NodeOutput(sharpen)


def _sharpening(radius: int, sigma: float, alpha: float) -> torch.Tensor:
    """[2r + 1, 2r + 1]: identity + alpha * 10 * (identity - Gaussian)."""
    line = torch.linspace(-1.0, 1.0, 2 * radius + 1)
    x, y = torch.meshgrid(line, line, indexing="ij")
    kernel = torch.exp(-(x * x + y * y) / (2 * sigma * sigma))
    kernel = -alpha * 10.0 * kernel / kernel.sum()
    kernel[radius, radius] += 1.0 + alpha * 10.0
    return kernel


NODES: tuple[type[BuiltIn], ...] = (
    LatentApplyOperation,
    LatentOperationTonemapReinhard,
    LatentOperationSharpen,
)
