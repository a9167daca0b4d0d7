"""Nodes that make and change masks. They know neither files nor how masks are laid over images.

A MASK is float32 [B, H, W] (or [H, W], which counts as one) in 0..1, 1 where masked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE, as_masks
from comfy_core.registry import BuiltIn

CATEGORY = "mask"
MODULE = "comfy_extras.nodes_mask"
MAX_SIDE = 16384
CHANNELS = ["red", "green", "blue", "alpha"]


def _from_zero(default: int = 0) -> tuple[str, dict[str, int]]:
    return "INT", {"default": default, "min": 0, "max": MAX_SIDE, "step": 1}


def _side() -> tuple[str, dict[str, int]]:
    return "INT", {"default": 512, "min": 1, "max": MAX_SIDE, "step": 1}


class MaskNode(BuiltIn):
    """What mask nodes share. Not a node itself."""

    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES: tuple[str, ...] = ("MASK",)


class MaskToImage(MaskNode):
    """A mask as a grey image."""

    DISPLAY_NAME = "Convert Mask to Image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "mask_to_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"mask": ("MASK",)}}

    def mask_to_image(self, mask: torch.Tensor) -> tuple[torch.Tensor]:
        """[B, H, W] to [B, H, W, 3]."""
        return (as_masks(mask)[..., None].expand(-1, -1, -1, 3),)


class ImageToMask(MaskNode):
    """One channel of an image."""

    DISPLAY_NAME = "Convert Image to Mask"
    FUNCTION = "image_to_mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"image": ("IMAGE",), "channel": (CHANNELS,)}}

    def image_to_mask(self, image: torch.Tensor, channel: str) -> tuple[torch.Tensor]:
        """The values as they are: alpha is not turned round."""
        index = CHANNELS.index(channel)
        if index >= image.shape[3]:
            raise InputRefused(f"the image has {image.shape[3]} channels, none is {channel}")
        return (image[..., index],)


class ImageColorToMask(MaskNode):
    """1 where an image has exactly one colour."""

    FUNCTION = "image_to_mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        color = {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}
        return {"required": {"image": ("IMAGE",), "color": ("INT", color)}}

    def image_to_mask(self, image: torch.Tensor, color: int) -> tuple[torch.Tensor]:
        """color is 0xRRGGBB; values are rounded to 8 bits before they are compared."""
        if image.shape[3] < 3:
            raise InputRefused(f"the image has {image.shape[3]} channels, a colour needs three")
        values = (image[..., :3].clamp(0, 1) * 255.0).round().to(torch.int)
        wanted = torch.tensor([color >> shift & 0xFF for shift in (16, 8, 0)], dtype=torch.int)
        return ((values == wanted.to(values.device)).all(dim=-1).float(),)


class SolidMask(MaskNode):
    """A mask of one value."""

    FUNCTION = "solid"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        value = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
        return {"required": {"value": ("FLOAT", value), "width": _side(), "height": _side()}}

    def solid(self, value: float, width: int, height: int) -> tuple[torch.Tensor]:
        """[1, height, width]."""
        require(width * height * BYTES_PER_VALUE, "SolidMask")
        return (torch.full((1, height, width), value, dtype=torch.float32),)


class InvertMask(MaskNode):
    """The rest of a mask."""

    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"mask": ("MASK",)}}

    def invert(self, mask: torch.Tensor) -> tuple[torch.Tensor]:
        """One minus each value."""
        return (1.0 - mask,)


class CropMask(MaskNode):
    """A rectangle of a mask."""

    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        place = {"x": _from_zero(), "y": _from_zero(), "width": _side(), "height": _side()}
        return {"required": {"mask": ("MASK",), **place}}

    def crop(self, mask: torch.Tensor, x: int, y: int, width: int, height: int) -> tuple[torch.Tensor]:
        """What of the rectangle lies in the mask, which may be nothing."""
        return (as_masks(mask)[:, y : y + height, x : x + width],)


def _rounded(combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A rule of logic on values rounded to 0 or 1."""
    return lambda under, over: combine(under.round().bool(), over.round().bool()).float()


OPERATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "subtract": torch.sub,
    "and": _rounded(torch.logical_and),
    "or": _rounded(torch.logical_or),
    "xor": _rounded(torch.logical_xor),
}


class MaskComposite(MaskNode):
    """One mask combined into another at a place."""

    FUNCTION = "combine"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "destination": ("MASK",),
                "source": ("MASK",),
                "x": _from_zero(),
                "y": _from_zero(),
                "operation": (list(OPERATIONS),),
            }
        }

    def combine(
        self, destination: torch.Tensor, source: torch.Tensor, x: int, y: int, operation: str
    ) -> tuple[torch.Tensor]:
        """Outside the source the destination stays; values are clamped to 0..1."""
        output, over = as_masks(destination).clone(), as_masks(source)
        if over.shape[0] not in (1, output.shape[0]):
            raise InputRefused(f"{over.shape[0]} masks cannot be combined into {output.shape[0]}")
        under = output[:, y : y + over.shape[1], x : x + over.shape[2]]
        under[:] = OPERATIONS[operation](under, over[:, : under.shape[1], : under.shape[2]])
        return (output.clamp(0.0, 1.0),)


class FeatherMask(MaskNode):
    """Fades a mask towards its edges."""

    FUNCTION = "feather"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        edges = {edge: _from_zero() for edge in ("left", "top", "right", "bottom")}
        return {"required": {"mask": ("MASK",), **edges}}

    def feather(self, mask: torch.Tensor, left: int, top: int, right: int, bottom: int) -> tuple[torch.Tensor]:
        """The k-th row of n from an edge is multiplied by about k / n; fades that overlap multiply."""
        output = as_masks(mask)
        columns = _fade(output.shape[2], left, right)
        rows = _fade(output.shape[1], top, bottom)
        return (output * columns.to(output) * rows[:, None].to(output),)


def _fade(length: int, start: int, end: int) -> torch.Tensor:
    """Factors along a side.

    As in ComfyUI the ramp from the far end begins one place too late: its first factor falls on the first row.
    """
    factors = torch.ones(length)
    start, end = min(start, length), min(end, length)
    factors[:start] *= torch.arange(1, start + 1) / max(start, 1)
    factors[-torch.arange(end)] *= torch.arange(1, end + 1) / max(end, 1)
    return factors


class GrowMask(MaskNode):
    """Grows or, with a negative number, shrinks a mask."""

    DISPLAY_NAME = "GrowMask"
    FUNCTION = "expand_mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "mask": ("MASK",),
                "expand": ("INT", {"default": 0, "min": -MAX_SIDE, "max": MAX_SIDE, "step": 1}),
                "tapered_corners": ("BOOLEAN", {"default": True}),
            }
        }

    def expand_mask(self, mask: torch.Tensor, expand: int, tapered_corners: bool) -> tuple[torch.Tensor]:
        """Grey dilation (erosion) by a step per pixel: over the neighbours, with the corners only if not tapered."""
        grown = as_masks(mask)
        grown = grown if expand >= 0 else -grown
        for _ in range(abs(expand)):
            progress.stop_if_asked()
            before, grown = grown, _dilated(grown, tapered_corners)
            if torch.equal(before, grown):
                break
        return (grown.clone() if expand >= 0 else -grown,)


def _dilated(planes: torch.Tensor, tapered: bool) -> torch.Tensor:
    """The greatest of each value and its neighbours; beyond the edge there is nothing."""
    across = torch.nn.functional.max_pool2d(planes, (1, 3), stride=1, padding=(0, 1))
    down = torch.nn.functional.max_pool2d(planes if tapered else across, (3, 1), stride=1, padding=(1, 0))
    return torch.maximum(across, down)


class ThresholdMask(MaskNode):
    """1 above a value, else 0."""

    FUNCTION = "image_to_mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        value = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}
        return {"required": {"mask": ("MASK",), "value": ("FLOAT", value)}}

    def image_to_mask(self, mask: torch.Tensor, value: float) -> tuple[torch.Tensor]:
        """The value itself counts as below."""
        return ((mask > value).float(),)


NODES = (
    MaskToImage,
    ImageToMask,
    ImageColorToMask,
    SolidMask,
    InvertMask,
    CropMask,
    MaskComposite,
    FeatherMask,
    GrowMask,
    ThresholdMask,
)
