"""Nodes that scale images by interpolation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from comfy_core.nodes.resize import METHODS, resize
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

MAX_SIDE = 16384
SIDE = {"default": 512, "min": 0, "max": MAX_SIDE, "step": 1}
MEGAPIXEL = 1024 * 1024


class ImageScale(BuiltIn):
    """To a width and height; 0 keeps the proportions."""

    DISPLAY_NAME = "Upscale Image"
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"
    upscale_methods: ClassVar[list[str]] = METHODS
    crop_methods: ClassVar[list[str]] = ["disabled", "center"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (METHODS,),
                "width": ("INT", SIDE),
                "height": ("INT", SIDE),
                "crop": (["disabled", "center"],),
            }
        }

    def upscale(
        self, image: torch.Tensor, upscale_method: str, width: int, height: int, crop: str
    ) -> tuple[torch.Tensor]:
        """Both sides 0 leave the image as it is."""
        if width == 0 and height == 0:
            return (image,)
        old_height, old_width = image.shape[1:3]
        if width == 0:
            width = max(1, round(old_width * height / old_height))
        elif height == 0:
            height = max(1, round(old_height * width / old_width))
        return (resize(image, width, height, upscale_method, crop=crop == "center"),)


class ImageScaleBy(BuiltIn):
    """By a factor."""

    DISPLAY_NAME = "Upscale Image By"
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"
    upscale_methods: ClassVar[list[str]] = METHODS

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        factor = {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}
        return {"required": {"image": ("IMAGE",), "upscale_method": (METHODS,), "scale_by": ("FLOAT", factor)}}

    def upscale(self, image: torch.Tensor, upscale_method: str, scale_by: float) -> tuple[torch.Tensor]:
        """Each side times the factor, rounded."""
        width, height = (max(1, round(side * scale_by)) for side in (image.shape[2], image.shape[1]))
        return (resize(image, width, height, upscale_method),)


class ImageScaleToMaxDimension(BuiltIn):
    """So that the longer side has a size."""

    CATEGORY = "image/upscaling"
    PYTHON_MODULE = "comfy_extras.nodes_images"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        methods = ["area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"]
        return {"required": {"image": ("IMAGE",), "upscale_method": (methods,), "largest_size": ("INT", SIDE)}}

    def upscale(self, image: torch.Tensor, upscale_method: str, largest_size: int) -> tuple[torch.Tensor]:
        """The other side keeps the proportions; 0 leaves the image as it is."""
        old_height, old_width = image.shape[1:3]
        if largest_size == 0:
            return (image,)
        factor = largest_size / max(old_height, old_width)
        width, height = (max(1, round(side * factor)) for side in (old_width, old_height))
        return (resize(image, width, height, upscale_method),)


class ImageScaleToTotalPixels(BuiltIn, io.ComfyNode):
    """So that the image has so many pixels."""

    PYTHON_MODULE = "comfy_extras.nodes_post_processing"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        return io.Schema(
            node_id="ImageScaleToTotalPixels",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input("upscale_method", options=METHODS),
                io.Float.Input("megapixels", default=1.0, min=0.01, max=16.0, step=0.01),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, upscale_method: str, megapixels: float) -> io.NodeOutput:
        """A megapixel is 1024 x 1024."""
        old_height, old_width = image.shape[1:3]
        factor = math.sqrt(megapixels * MEGAPIXEL / (old_width * old_height))
        width, height = (max(1, round(side * factor)) for side in (old_width, old_height))
        return io.NodeOutput(resize(image, width, height, upscale_method))

    upscale = execute


NODES = (ImageScale, ImageScaleBy, ImageScaleToMaxDimension, ImageScaleToTotalPixels)
