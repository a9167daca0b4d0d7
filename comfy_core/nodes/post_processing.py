"""Nodes that blend, blur and sharpen images. They know no files."""

from __future__ import annotations

from collections.abc import Callable

import torch

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE, with_channels
from comfy_core.nodes.resize import resize
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

CATEGORY = "image/postprocessing"
MODULE = "comfy_extras.nodes_post_processing"

Mode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _overlay(under: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    return torch.where(under <= 0.5, 2 * under * over, 1 - 2 * (1 - under) * (1 - over))


def _soft_light(under: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    lifted = torch.where(under <= 0.25, ((16 * under - 12) * under + 4) * under, torch.sqrt(under))
    darker = under - (1 - 2 * over) * under * (1 - under)
    return torch.where(over <= 0.5, darker, under + (2 * over - 1) * (lifted - under))


# The formulas of W3C "Compositing and Blending Level 1", section 9.1.
MODES: dict[str, Mode] = {
    "normal": lambda under, over: over,
    "multiply": torch.mul,
    "screen": lambda under, over: 1 - (1 - under) * (1 - over),
    "overlay": _overlay,
    "soft_light": _soft_light,
    "difference": torch.sub,
}


class ImageBlend(BuiltIn, io.ComfyNode):
    """One image blended into another of the same size."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Two images, a share, a mode."""
        return io.Schema(
            node_id="ImageBlend",
            category=CATEGORY,
            inputs=[
                io.Image.Input("image1"),
                io.Image.Input("image2"),
                io.Float.Input("blend_factor", default=0.5, min=0.0, max=1.0, step=0.01),
                io.Combo.Input("blend_mode", options=list(MODES)),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image1: torch.Tensor, image2: torch.Tensor, blend_factor: float, blend_mode: str) -> io.NodeOutput:
        """image2 is scaled to image1, cut at the centre and given its channels; it counts with blend_factor."""
        if blend_mode not in MODES:
            raise InputRefused(f"there is no blend mode {blend_mode[:50]!r}")
        require(image1.numel() * BYTES_PER_VALUE * 3, "blending")
        image2 = _fitting(image2, image1)
        blended = MODES[blend_mode](image1, image2)
        return io.NodeOutput((image1 * (1 - blend_factor) + blended * blend_factor).clamp(0, 1))


def _fitting(image: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    if image.shape[0] not in (1, to.shape[0]) and to.shape[0] != 1:
        raise InputRefused(f"batches of {to.shape[0]} and {image.shape[0]} images cannot be blended")
    image = with_channels(image[..., : to.shape[3]], to.shape[3])
    if image.shape[1:3] == to.shape[1:3]:
        return image
    return resize(image, to.shape[2], to.shape[1], "bicubic", crop=True)


class ImageBlur(BuiltIn, io.ComfyNode):
    """Blurred by a Gaussian."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image, a radius in pixels, a width relative to the radius."""
        return io.Schema(
            node_id="ImageBlur",
            category=CATEGORY,
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("blur_radius", default=1, min=1, max=31, step=1),
                io.Float.Input("sigma", default=1.0, min=0.1, max=10.0, step=0.1),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, blur_radius: int, sigma: float) -> io.NodeOutput:
        """Mirrored at the edges; a radius of 0 leaves the image as it is."""
        return io.NodeOutput(filtered(image, gaussian(blur_radius, sigma)) if blur_radius else image)


def gaussian(radius: int, sigma: float) -> torch.Tensor:
    """[2 radius + 1, 2 radius + 1], sum 1. sigma is in units of the radius, as in ComfyUI: the kernel spans -1 .. 1."""
    steps = torch.linspace(-1, 1, 2 * radius + 1)
    distance = torch.sqrt(steps[:, None] * steps[:, None] + steps * steps)
    weights = torch.exp(-(distance * distance) / (2 * sigma**2))
    return weights / weights.sum()


def filtered(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """[B, H, W, C] under a square kernel, mirrored at the edges. In one pass, as ComfyUI, to its last bit."""
    require(image.numel() * BYTES_PER_VALUE * 4, "filtering")
    channels, radius = image.shape[3], len(kernel) // 2
    weights = kernel.to(image).expand(channels, 1, -1, -1)
    for axis in (1, 2):
        image = image.index_select(axis, mirrored(image.shape[axis], radius).to(image.device))
    frames = []
    for frame in image.movedim(-1, 1):
        progress.stop_if_asked()
        frames.append(torch.nn.functional.conv2d(frame[None], weights, groups=channels))
    return torch.cat(frames).movedim(1, -1)


def along(image: torch.Tensor, axis: int, weights: torch.Tensor) -> torch.Tensor:
    """A weighted sum over neighbours along an axis, mirrored at the ends."""
    length, radius = image.shape[axis], len(weights) // 2
    padded = image.index_select(axis, mirrored(length, radius).to(image.device))
    summed = torch.zeros_like(image)
    for start, weight in enumerate(weights):
        summed += padded.narrow(axis, start, length) * weight
    return summed


def mirrored(length: int, reach: int) -> torch.Tensor:
    """Indices from -reach to length + reach, turned back at the ends as often as needed; ends are not repeated."""
    period = max(2 * (length - 1), 1)
    steps = torch.arange(-reach, length + reach) % period
    return torch.minimum(steps, period - steps) if length > 1 else torch.zeros_like(steps)


class ImageSharpen(BuiltIn, io.ComfyNode):
    """Sharpened by what a blur takes away."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image, a radius in pixels, a width relative to the radius, a strength."""
        return io.Schema(
            node_id="ImageSharpen",
            category=CATEGORY,
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("sharpen_radius", default=1, min=1, max=31, step=1),
                io.Float.Input("sigma", default=1.0, min=0.1, max=10.0, step=0.01),
                io.Float.Input("alpha", default=1.0, min=0.0, max=5.0, step=0.01),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, sharpen_radius: int, sigma: float, alpha: float) -> io.NodeOutput:
        """Unsharp masking: ten times alpha of the difference is added; values are clamped to 0..1."""
        if sharpen_radius == 0:
            return io.NodeOutput(image)
        kernel = gaussian(sharpen_radius, sigma) * -(alpha * 10)
        kernel[sharpen_radius, sharpen_radius] += 1.0 - kernel.sum()
        return io.NodeOutput(filtered(image, kernel).clamp(0, 1))


NODES = (ImageBlend, ImageBlur, ImageSharpen)
