"""Nodes that cut, turn, join and frame images. They change where pixels are, not their values (scaling apart)."""

from __future__ import annotations

from typing import Any

import torch

from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE, with_channels
from comfy_core.nodes.resize import resize
from comfy_core.registry import BuiltIn

CATEGORY = "image/transform"
MODULE = "comfy_extras.nodes_images"
MAX_SIDE = 16384
GREY = 0.5
COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
}


def _whole(default: int, least: int, step: int = 1) -> tuple[str, dict[str, int]]:
    return "INT", {"default": default, "min": least, "max": MAX_SIDE, "step": step}


class ImageCrop(BuiltIn):
    """A rectangle of an image."""

    DISPLAY_NAME = "Image Crop"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        place = {"width": _whole(512, 1), "height": _whole(512, 1), "x": _whole(0, 0), "y": _whole(0, 0)}
        return {"required": {"image": ("IMAGE",), **place}}

    def crop(self, image: torch.Tensor, width: int, height: int, x: int, y: int) -> tuple[torch.Tensor]:
        """What of the rectangle lies in the image, at least its last row and column."""
        x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
        return (image[:, y : y + height, x : x + width],)


class ImageRotate(BuiltIn):
    """Turned clockwise by quarters."""

    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "rotate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"image": ("IMAGE",), "rotation": (list(QUARTERS),)}}

    def rotate(self, image: torch.Tensor, rotation: str) -> tuple[torch.Tensor]:
        """Quarter turns are exact."""
        return (torch.rot90(image, k=QUARTERS[rotation], dims=(2, 1)),)


QUARTERS = {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}


class ImageFlip(BuiltIn):
    """Mirrored."""

    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "flip"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"image": ("IMAGE",), "flip_method": (list(MIRRORED),)}}

    def flip(self, image: torch.Tensor, flip_method: str) -> tuple[torch.Tensor]:
        """Rows or columns in reverse order."""
        return (torch.flip(image, dims=(MIRRORED[flip_method],)),)


MIRRORED = {"x-axis: vertically": 1, "y-axis: horizontally": 2}


class ImageStitch(BuiltIn):
    """Two images side by side or above one another."""

    DISPLAY_NAME = "Image Stitch"
    DESCRIPTION = "Joins two images in a direction, with a band of colour between them if wanted."
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "stitch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "image1": ("IMAGE",),
                "direction": (["right", "down", "left", "up"], {"default": "right"}),
                "match_image_size": ("BOOLEAN", {"default": True}),
                "spacing_width": ("INT", {"default": 0, "min": 0, "max": 1024, "step": 2}),
                "spacing_color": (list(COLOURS), {"default": "white"}),
            },
            "optional": {"image2": ("IMAGE",)},
        }

    def stitch(
        self,
        image1: torch.Tensor,
        direction: str,
        match_image_size: bool,
        spacing_width: int,
        spacing_color: str,
        image2: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor]:
        """image2 lies in that direction of image1, scaled to its side or centred on white or else black."""
        if image2 is None:
            return (image1,)
        axis = 2 if direction in ("left", "right") else 1
        batch = max(image1.shape[0], image2.shape[0])
        first, second = (_last_repeated(image, batch) for image in (image1, image2))
        if match_image_size:
            second = _matched(second, first, axis)
        first, second = _same_channels(*_same_breadth(first, second, 3 - axis, float(spacing_color == "white")))
        parts = [first, second]
        if spacing_width > 0:
            parts.insert(1, _band(first, axis, spacing_width + spacing_width % 2, spacing_color))
        require(sum(part.nbytes for part in parts), "the stitched image")
        return (torch.cat(parts if direction in ("right", "down") else parts[::-1], dim=axis),)


def _last_repeated(image: torch.Tensor, batch: int) -> torch.Tensor:
    missing = batch - image.shape[0]
    return torch.cat((image, image[-1:].repeat(missing, 1, 1, 1))) if missing else image


def _matched(image: torch.Tensor, to: torch.Tensor, axis: int) -> torch.Tensor:
    """Scaled to the other's side across the axis, keeping proportions."""
    breadth = to.shape[3 - axis]
    along = int(breadth * (image.shape[axis] / image.shape[3 - axis]))
    width, height = (along, breadth) if axis == 2 else (breadth, along)
    return resize(image, width, height, "lanczos")


def _same_breadth(
    first: torch.Tensor, second: torch.Tensor, axis: int, fill: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both centred to the greater of their sides."""
    side = max(first.shape[axis], second.shape[axis])
    return _centred(first, axis, side, fill), _centred(second, axis, side, fill)


def _centred(image: torch.Tensor, axis: int, side: int, fill: float) -> torch.Tensor:
    missing = side - image.shape[axis]
    before, after = missing // 2, missing - missing // 2
    padding = (0, 0, 0, 0, before, after) if axis == 1 else (0, 0, before, after)
    return torch.nn.functional.pad(image, padding, value=fill)


def _same_channels(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    channels = max(first.shape[3], second.shape[3])
    return with_channels(first, channels), with_channels(second, channels)


def _band(beside: torch.Tensor, axis: int, thickness: int, colour: str) -> torch.Tensor:
    shape = list(beside.shape)
    shape[axis] = thickness
    values = [*COLOURS[colour], 1.0][: shape[3]]
    return torch.tensor(values, dtype=beside.dtype).expand(shape)


class ResizeAndPadImage(BuiltIn):
    """Scaled to fit a frame, the rest filled with a colour."""

    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "resize_and_pad"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "image": ("IMAGE",),
                "target_width": _whole(512, 1),
                "target_height": _whole(512, 1),
                "padding_color": (["white", "black"],),
                "interpolation": (["area", "bicubic", "nearest-exact", "bilinear", "lanczos"],),
            }
        }

    def resize_and_pad(
        self, image: torch.Tensor, target_width: int, target_height: int, padding_color: str, interpolation: str
    ) -> tuple[torch.Tensor]:
        """Sides are rounded down, the image is centred."""
        batch, height, width, channels = image.shape
        require(batch * target_width * target_height * channels * BYTES_PER_VALUE, "the padded image")
        scale = min(target_width / width, target_height / height)
        new_width, new_height = max(1, int(width * scale)), max(1, int(height * scale))
        fill = COLOURS[padding_color][0]
        framed = torch.full((batch, target_height, target_width, channels), fill, dtype=image.dtype)
        top, left = (target_height - new_height) // 2, (target_width - new_width) // 2
        inner = resize(image, new_width, new_height, interpolation)
        framed[:, top : top + new_height, left : left + new_width] = inner
        return (framed,)


class ImagePadForOutpaint(BuiltIn):
    """Grey borders around an image, and the mask of what is to be painted."""

    DISPLAY_NAME = "Pad Image for Outpainting"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "expand_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        edges = {edge: _whole(0, 0, 8) for edge in ("left", "top", "right", "bottom")}
        return {"required": {"image": ("IMAGE",), **edges, "feathering": _whole(40, 0)}}

    def expand_image(
        self, image: torch.Tensor, left: int, top: int, right: int, bottom: int, feathering: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mask is 1 outside and falls inwards with the square of the distance from each padded edge."""
        batch, height, width, channels = image.shape
        shape = (top + height + bottom, left + width + right)
        require(shape[0] * shape[1] * (batch * channels + 1) * BYTES_PER_VALUE, "the padded image")
        padded = torch.full((batch, *shape, channels), GREY, dtype=torch.float32)
        padded[:, top : top + height, left : left + width] = image
        mask = torch.ones(shape, dtype=torch.float32)
        inner = mask[top : top + height, left : left + width]
        inner.zero_()
        if 0 < feathering * 2 < min(height, width):
            inner.copy_(_fringe(_depth(height, top, bottom)[:, None], _depth(width, left, right), feathering))
        return padded, mask[None]


def _depth(length: int, start: int, end: int) -> torch.Tensor:
    """Distance of each row from the padded edges."""
    steps = torch.arange(length, dtype=torch.float64)
    before = steps if start else torch.full_like(steps, length)
    after = length - steps if end else torch.full_like(steps, length)
    return torch.minimum(before, after)


def _fringe(rows: torch.Tensor, columns: torch.Tensor, reach: int) -> torch.Tensor:
    """((reach - distance) / reach) squared, 0 beyond the reach."""
    return ((reach - torch.minimum(rows, columns)).clamp(min=0) / reach).square().float()


NODES = (ImageCrop, ImageRotate, ImageFlip, ImageStitch, ResizeAndPadImage, ImagePadForOutpaint)
