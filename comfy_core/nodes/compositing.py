"""Nodes that lay images over one another by their alpha, and take alpha off or put it on. They know no files.

Images and masks are [H, W, C] and [H, W] here, frame by frame; masks are 1 where an image is transparent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.latent import repeated
from comfy_core.nodes.latent_composite import lay
from comfy_core.nodes.pixels import as_masks, with_channels
from comfy_core.nodes.resize import resize
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

CATEGORY = "mask/compositing"
MODULE = "comfy_extras.nodes_compositing"
SEEN = 1e-5
"""Alpha below which a pixel has no colour."""

Alpha = torch.Tensor
Colour = torch.Tensor
"""Premultiplied: colour times alpha."""
Rule = Callable[[Colour, Alpha, Colour, Alpha], tuple[Colour, Alpha]]
"""(source colour, source alpha, destination colour, destination alpha) to (colour, alpha)."""


def _both(source: Alpha, destination: Alpha) -> Alpha:
    """The alpha of two layers that both count."""
    return source + destination - source * destination


def _overlaid(source: Colour, sa: Alpha, under: Colour, da: Alpha) -> Colour:
    """As ComfyUI has it: in the light half each colour is taken from the other's alpha."""
    return torch.where(2 * under < da, 2 * source * under, sa * da - 2 * (da - source) * (sa - under))


# Porter and Duff, "Compositing Digital Images" (1984), and the blend modes beside them in Android's PorterDuff.Mode.
RULES: dict[str, Rule] = {
    "ADD": lambda s, sa, d, da: ((s + d).clamp(0, 1), (sa + da).clamp(0, 1)),
    "CLEAR": lambda s, sa, d, da: (torch.zeros_like(d), torch.zeros_like(da)),
    "DARKEN": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + torch.minimum(s, d), _both(sa, da)),
    "DST": lambda s, sa, d, da: (d, da),
    "DST_ATOP": lambda s, sa, d, da: (sa * d + (1 - da) * s, sa),
    "DST_IN": lambda s, sa, d, da: (d * sa, sa * da),
    "DST_OUT": lambda s, sa, d, da: ((1 - sa) * d, (1 - sa) * da),
    "DST_OVER": lambda s, sa, d, da: (d + (1 - da) * s, da + (1 - da) * sa),
    "LIGHTEN": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + torch.maximum(s, d), _both(sa, da)),
    "MULTIPLY": lambda s, sa, d, da: (s * d, sa * da),
    "OVERLAY": lambda s, sa, d, da: (_overlaid(s, sa, d, da), _both(sa, da)),
    "SCREEN": lambda s, sa, d, da: (s + d - s * d, _both(sa, da)),
    "SRC": lambda s, sa, d, da: (s, sa),
    "SRC_ATOP": lambda s, sa, d, da: (da * s + (1 - sa) * d, da),
    "SRC_IN": lambda s, sa, d, da: (s * da, sa * da),
    "SRC_OUT": lambda s, sa, d, da: ((1 - da) * s, (1 - da) * sa),
    "SRC_OVER": lambda s, sa, d, da: (s + (1 - sa) * d, sa + (1 - sa) * da),
    "XOR": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d, (1 - da) * sa + (1 - sa) * da),
}


def composed(mode: str, source: Colour, sa: Alpha, under: Colour, da: Alpha) -> tuple[Colour, Alpha]:
    """Plain colours [H, W, C] in and out, alphas [H, W, 1] with 1 opaque."""
    colour, alpha = RULES[mode](source * sa, sa, under * da, da)
    plain = torch.where(alpha > SEEN, colour / alpha.clamp(min=SEEN), torch.zeros_like(colour))
    return plain.clamp(0, 1), alpha


class PorterDuffImageComposite(BuiltIn, io.ComfyNode):
    """One image over another."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Two images, their masks, a mode."""
        return io.Schema(
            node_id="PorterDuffImageComposite",
            display_name="Porter-Duff Image Composite",
            category=CATEGORY,
            inputs=[
                io.Image.Input("source"),
                io.Mask.Input("source_alpha"),
                io.Image.Input("destination"),
                io.Mask.Input("destination_alpha"),
                io.Combo.Input("mode", options=list(RULES), default="DST"),
            ],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(
        cls,
        source: torch.Tensor,
        source_alpha: torch.Tensor,
        destination: torch.Tensor,
        destination_alpha: torch.Tensor,
        mode: str,
    ) -> io.NodeOutput:
        """As many frames as the shortest input has; all take the size of the destination's frame."""
        if mode not in RULES:
            raise InputRefused(f"there is no composition mode {mode[:50]!r}")
        frames = []
        masks = (as_masks(source_alpha), as_masks(destination_alpha))
        for over, over_mask, under, under_mask in zip(source, masks[0], destination, masks[1], strict=False):
            progress.stop_if_asked()
            if over.shape[-1] != under.shape[-1]:
                raise InputRefused(f"images of {over.shape[-1]} and {under.shape[-1]} channels cannot be composed")
            size = under.shape[:2]
            alphas = [1 - _mask_fitted(mask, size)[..., None] for mask in (over_mask, under_mask)]
            frames.append(composed(mode, _fitted(over, size), alphas[0], under, alphas[1]))
        images = torch.stack([colour for colour, _ in frames])
        return io.NodeOutput(images, torch.stack([1 - alpha[..., 0] for _, alpha in frames]))


def _fitted(frame: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """[H, W, C] scaled to a size, cut at the centre."""
    if frame.shape[:2] == size:
        return frame
    return resize(frame[None], size[1], size[0], "bicubic", crop=True)[0]


def _mask_fitted(mask: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return _fitted(mask[..., None], size)[..., 0]


class SplitImageWithAlpha(BuiltIn, io.ComfyNode):
    """Colour and alpha apart."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image."""
        return io.Schema(
            node_id="SplitImageWithAlpha",
            display_name="Split Image with Alpha",
            category=CATEGORY,
            inputs=[io.Image.Input("image")],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor) -> io.NodeOutput:
        """The mask is 1 - alpha; an image without alpha is opaque."""
        opaque = torch.ones_like(image[..., 0])
        alpha = image[..., 3] if image.shape[3] > 3 else opaque
        return io.NodeOutput(image[..., :3].clone(), 1.0 - alpha)


class JoinImageWithAlpha(BuiltIn, io.ComfyNode):
    """An image with a mask as its alpha."""

    PYTHON_MODULE = MODULE

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image and a mask."""
        return io.Schema(
            node_id="JoinImageWithAlpha",
            display_name="Join Image with Alpha",
            category=CATEGORY,
            inputs=[io.Image.Input("image"), io.Mask.Input("alpha")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, alpha: torch.Tensor) -> io.NodeOutput:
        """Alpha is 1 - mask, scaled to the image; as many frames as the shorter has."""
        mask = as_masks(alpha)
        if mask.shape[1:] != image.shape[1:3]:
            mask = torch.nn.functional.interpolate(mask[:, None], size=image.shape[1:3], mode="bilinear")[:, 0]
        count = min(image.shape[0], mask.shape[0])
        return io.NodeOutput(torch.cat((image[:count, ..., :3], 1.0 - mask[:count, ..., None]), dim=-1))


class ImageCompositeMasked(BuiltIn):
    """One image laid into another at a place, through a mask."""

    DISPLAY_NAME = "ImageCompositeMasked"
    CATEGORY = "image"
    PYTHON_MODULE = "comfy_extras.nodes_mask"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        place = ("INT", {"default": 0, "min": 0, "max": 16384, "step": 1})
        return {
            "required": {
                "destination": ("IMAGE",),
                "source": ("IMAGE",),
                "x": place,
                "y": place,
                "resize_source": ("BOOLEAN", {"default": False}),
            },
            "optional": {"mask": ("MASK",)},
        }

    def composite(
        self,
        destination: torch.Tensor,
        source: torch.Tensor,
        x: int,
        y: int,
        resize_source: bool,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor]:
        """What lies outside the destination is cut; where the mask is 1 the source shows."""
        destination, source = _with_channels_of(destination, source)
        require(destination.nbytes * 2, "the composed image")
        if resize_source:
            source = resize(source, destination.shape[2], destination.shape[1], "bilinear")
        above = repeated(source, destination.shape[0]).movedim(-1, 1)
        return (lay(destination.clone().movedim(-1, 1), above, x, y, mask).movedim(1, -1),)


def _with_channels_of(destination: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Alpha that only the source has is dropped; one that only the destination has is opaque in the source."""
    source = source[..., : destination.shape[3]]
    return destination, with_channels(source, destination.shape[3])


NODES = (PorterDuffImageComposite, SplitImageWithAlpha, JoinImageWithAlpha, ImageCompositeMasked)
