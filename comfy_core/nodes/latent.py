"""Nodes that scale, turn, cut, pick and repeat latents. They know no model and no sampler.

A LATENT is a dict: samples float32 [B, C, H, W] (or [B, C, T, H, W]), perhaps noise_mask in pixels, batch_index (which
draw of the noise each item gets) and type. What a node does not change travels along as it is.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.latent_resize import CELL, METHODS, resize_latent
from comfy_core.registry import BuiltIn

MAX_SIDE = 16384
LEAST_PIXELS = 64
LEAST_CELLS = LEAST_PIXELS // CELL

Latent = dict[str, Any]


def repeated(values: torch.Tensor, batch: int) -> torch.Tensor:
    """As many items as `batch`: the first ones, or all again from the start. Raises InputRefused for none at all."""
    count = values.shape[0]
    if count == 0:
        raise InputRefused("a batch of no items cannot be repeated")
    if count >= batch:
        return values[:batch]
    require(values.numel() // count * batch * values.element_size(), f"repeating a batch to {batch}")
    return values.repeat(math.ceil(batch / count), *(1,) * (values.ndim - 1))[:batch]


def _pixels(default: int, least: int) -> tuple[str, dict[str, Any]]:
    return "INT", {"default": default, "min": least, "max": MAX_SIDE, "step": CELL}


class LatentUpscale(BuiltIn):
    """To a width and height in pixels; 0 keeps the proportions."""

    DISPLAY_NAME = "Upscale Latent"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "upscale"
    upscale_methods: ClassVar[list[str]] = METHODS
    crop_methods: ClassVar[list[str]] = ["disabled", "center"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "samples": ("LATENT",),
                "upscale_method": (METHODS,),
                "width": _pixels(512, 0),
                "height": _pixels(512, 0),
                "crop": (["disabled", "center"],),
            }
        }

    def upscale(self, samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
        """Both sides 0 leave the latent as it is; else none becomes smaller than 64 pixels."""
        if width == 0 and height == 0:
            return (samples,)
        old_height, old_width = samples["samples"].shape[-2:]
        if width == 0:
            height = max(LEAST_PIXELS, height)
            width = round(old_width * height / old_height)
        elif height == 0:
            width = max(LEAST_PIXELS, width)
            height = round(old_height * width / old_width)
        columns, rows = (max(LEAST_PIXELS, pixels) // CELL for pixels in (width, height))
        scaled = resize_latent(samples["samples"], columns, rows, upscale_method, crop=crop == "center")
        return ({**samples, "samples": scaled},)


class LatentUpscaleBy(BuiltIn):
    """By a factor."""

    DISPLAY_NAME = "Upscale Latent By"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "upscale"
    upscale_methods: ClassVar[list[str]] = METHODS

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        factor = {"default": 1.5, "min": 0.01, "max": 8.0, "step": 0.01}
        return {"required": {"samples": ("LATENT",), "upscale_method": (METHODS,), "scale_by": ("FLOAT", factor)}}

    def upscale(self, samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
        """Sides rounded to whole cells. Raises InputRefused when nothing would be left."""
        rows, columns = (round(cells * scale_by) for cells in samples["samples"].shape[-2:])
        if rows < 1 or columns < 1:
            raise InputRefused(f"scaled by {scale_by} the latent would have {columns}x{rows} cells")
        return ({**samples, "samples": resize_latent(samples["samples"], columns, rows, upscale_method)},)


class LatentFromBatch(BuiltIn):
    """Some items of a batch; each remembers which draw of the noise is its own."""

    DISPLAY_NAME = "Latent From Batch"
    CATEGORY = "latent/batch"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "frombatch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "samples": ("LATENT",),
                "batch_index": ("INT", {"default": 0, "min": 0, "max": 63}),
                "length": ("INT", {"default": 1, "min": 1, "max": 64}),
            }
        }

    def frombatch(self, samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
        """Indices past the end mean the last item."""
        values = samples["samples"]
        start = min(values.shape[0] - 1, batch_index)
        end = start + min(values.shape[0] - start, length)
        picked = {**samples, "samples": values[start:end].clone()}
        mask = samples.get("noise_mask")
        if mask is not None:
            picked["noise_mask"] = mask.clone() if mask.shape[0] == 1 else repeated(mask, end)[start:end].clone()
        picked["batch_index"] = samples.get("batch_index", list(range(values.shape[0])))[start:end]
        return (picked,)


class RepeatLatentBatch(BuiltIn):
    """The whole batch several times over; copies get draws of the noise of their own."""

    DISPLAY_NAME = "Repeat Latent Batch"
    CATEGORY = "latent/batch"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"samples": ("LATENT",), "amount": ("INT", {"default": 1, "min": 1, "max": 64})}}

    def repeat(self, samples: Latent, amount: int) -> tuple[Latent]:
        """Batch indices of each copy go on after those of the one before."""
        values = samples["samples"]
        batch = values.shape[0]
        copies = {**samples, "samples": repeated(values, batch * amount)}
        mask = samples.get("noise_mask")
        if mask is not None and mask.shape[0] > 1:
            copies["noise_mask"] = repeated(repeated(mask, max(batch, mask.shape[0])), batch * amount)
        if "batch_index" in samples:
            indices = samples["batch_index"]
            stride = max(indices) - min(indices) + 1
            copies["batch_index"] = [index + copy * stride for copy in range(amount) for index in indices]
        return (copies,)


class LatentRotate(BuiltIn):
    """By quarter turns."""

    DISPLAY_NAME = "Rotate Latent"
    CATEGORY = "latent/transform"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "rotate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        turns = ["none", "90 degrees", "180 degrees", "270 degrees"]
        return {"required": {"samples": ("LATENT",), "rotation": (turns,)}}

    def rotate(self, samples: Latent, rotation: str) -> tuple[Latent]:
        """Clockwise."""
        turns = 0 if rotation == "none" else int(rotation.split()[0]) // 90
        return ({**samples, "samples": torch.rot90(samples["samples"], k=turns, dims=[3, 2])},)


class LatentFlip(BuiltIn):
    """Mirrored."""

    DISPLAY_NAME = "Flip Latent"
    CATEGORY = "latent/transform"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "flip"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        ways = ["x-axis: vertically", "y-axis: horizontally"]
        return {"required": {"samples": ("LATENT",), "flip_method": (ways,)}}

    def flip(self, samples: Latent, flip_method: str) -> tuple[Latent]:
        """x turns it upside down, y swaps left and right."""
        axis = 2 if flip_method.startswith("x") else 3
        return ({**samples, "samples": torch.flip(samples["samples"], dims=[axis])},)


class LatentCrop(BuiltIn):
    """A rectangle, in pixels."""

    DISPLAY_NAME = "Crop Latent"
    CATEGORY = "latent/transform"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "samples": ("LATENT",),
                "width": _pixels(512, LEAST_PIXELS),
                "height": _pixels(512, LEAST_PIXELS),
                "x": _pixels(0, 0),
                "y": _pixels(0, 0),
            }
        }

    def crop(self, samples: Latent, width: int, height: int, x: int, y: int) -> tuple[Latent]:
        """Moved back so that at least 64 pixels of it lie inside, cut at the border."""
        values = samples["samples"]
        top, left = min(y // CELL, values.shape[2] - LEAST_CELLS), min(x // CELL, values.shape[3] - LEAST_CELLS)
        cut = values[:, :, top : top + height // CELL, left : left + width // CELL]
        return ({**samples, "samples": cut},)


class SetLatentNoiseMask(BuiltIn):
    """Where the sampler may change the latent."""

    DISPLAY_NAME = "Set Latent Noise Mask"
    CATEGORY = "latent/inpaint"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "set_mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"samples": ("LATENT",), "mask": ("MASK",)}}

    def set_mask(self, samples: Latent, mask: torch.Tensor) -> tuple[Latent]:
        """The mask as [B, 1, H, W]."""
        return ({**samples, "noise_mask": mask.reshape((-1, 1, *mask.shape[-2:]))},)


NODES = (
    LatentUpscale,
    LatentUpscaleBy,
    LatentFromBatch,
    RepeatLatentBatch,
    LatentRotate,
    LatentFlip,
    LatentCrop,
    SetLatentNoiseMask,
)
