"""Nodes that dilate and erode images, and take them into luma and chroma and back. They know no files."""

from __future__ import annotations

from collections.abc import Callable

import torch

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

MODULE = "comfy_extras.nodes_morphology"
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
BLUE_SCALE, RED_SCALE = 0.564, 0.713
"""Chroma per difference from luma (BT.601, rounded as in JPEG practice)."""
CHROMA_ZERO = 0.5

Operation = Callable[[torch.Tensor, int], torch.Tensor]


def dilated(planes: torch.Tensor, size: int) -> torch.Tensor:
    """The greatest value in a square window, [..., H, W]; what lies beyond the edge does not count."""
    for axis in (-1, -2):
        planes = _greatest(planes, axis, (size - 1) // 2, size // 2)
    return planes


def eroded(planes: torch.Tensor, size: int) -> torch.Tensor:
    """The least value in a square window."""
    for axis in (-1, -2):
        planes = -_greatest(-planes, axis, size // 2, (size - 1) // 2)
    return planes


def _greatest(planes: torch.Tensor, axis: int, before: int, after: int) -> torch.Tensor:
    """The running maximum over `before` and `after` neighbours, by windows that double in length."""
    length = planes.shape[axis]
    before, after = min(before, length - 1), min(after, length - 1)
    padding = (before, after) if axis == -1 else (0, 0, before, after)
    running, reach = torch.nn.functional.pad(planes, padding, value=float("-inf")), 1
    window = before + after + 1
    while reach < window:
        progress.stop_if_asked()
        step = min(reach, window - reach)
        rest = running.shape[axis] - step
        running = torch.maximum(running.narrow(axis, 0, rest), running.narrow(axis, step, rest))
        reach += step
    return running


# Serra, "Image Analysis and Mathematical Morphology" (1982), with a flat square as structuring element.
OPERATIONS: dict[str, Operation] = {
    "erode": eroded,
    "dilate": dilated,
    "open": lambda planes, size: dilated(eroded(planes, size), size),
    "close": lambda planes, size: eroded(dilated(planes, size), size),
    "gradient": lambda planes, size: dilated(planes, size) - eroded(planes, size),
    "bottom_hat": lambda planes, size: eroded(dilated(planes, size), size) - planes,
    "top_hat": lambda planes, size: planes - dilated(eroded(planes, size), size),
}


class Morphology(BuiltIn, io.ComfyNode):
    """Grows or shrinks what is bright."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image, an operation, the side of the square."""
        return io.Schema(
            node_id="Morphology",
            display_name="ImageMorphology",
            category="image/postprocessing",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("operation", options=list(OPERATIONS)),
                io.Int.Input("kernel_size", default=3, min=3, max=999, step=1),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, operation: str, kernel_size: int) -> io.NodeOutput:
        """Each channel for itself."""
        if operation not in OPERATIONS:
            raise InputRefused(f"there is no operation {operation[:50]!r}")
        require(image.numel() * BYTES_PER_VALUE * 4, "morphology")
        return io.NodeOutput(OPERATIONS[operation](image.movedim(-1, 1), kernel_size).movedim(1, -1))


def luma(image: torch.Tensor) -> torch.Tensor:
    """[..., 3] to [...]."""
    red, green, blue = image[..., :3].unbind(-1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


class ImageRGBToYUV(BuiltIn, io.ComfyNode):
    """Luma and both chroma channels, each as a grey image."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image."""
        return io.Schema(
            node_id="ImageRGBToYUV",
            category="image/batch",
            inputs=[io.Image.Input("image")],
            outputs=[io.Image.Output(display_name=name) for name in ("Y", "U", "V")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        """Full range; no chroma is 0.5."""
        if image.shape[3] < 3:
            raise InputRefused(f"the image has {image.shape[3]} channels, colours need three")
        require(image.numel() * BYTES_PER_VALUE * 3, "taking chroma apart")
        bright = luma(image)
        blue = (image[..., 2] - bright) * BLUE_SCALE + CHROMA_ZERO
        red = (image[..., 0] - bright) * RED_SCALE + CHROMA_ZERO
        return io.NodeOutput(*(plane[..., None].expand(-1, -1, -1, 3) for plane in (bright, blue, red)))


class ImageYUVToRGB(BuiltIn, io.ComfyNode):
    """Colours from luma and both chroma channels."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Three grey images."""
        return io.Schema(
            node_id="ImageYUVToRGB",
            category="image/batch",
            inputs=[io.Image.Input(name) for name in ("Y", "U", "V")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, Y: torch.Tensor, U: torch.Tensor, V: torch.Tensor) -> io.NodeOutput:  # noqa: N803 - the inputs' names
        """The inverse of ImageRGBToYUV; of coloured inputs the mean of the channels counts."""
        if not Y.shape[:3] == U.shape[:3] == V.shape[:3]:
            raise InputRefused("Y, U and V must have the same size and number of frames")
        bright, blue, red = (image.mean(dim=-1) for image in (Y, U, V))
        red = (red - CHROMA_ZERO) / RED_SCALE
        blue = (blue - CHROMA_ZERO) / BLUE_SCALE
        green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
        return io.NodeOutput(torch.stack((bright + red, bright + green, bright + blue), dim=-1).clamp(0, 1))


NODES = (Morphology, ImageRGBToYUV, ImageYUVToRGB)
