"""Nodes that lay one latent over another. They know nothing of images or models."""

from __future__ import annotations

from typing import Any

import torch

from comfy_core.nodes.latent import Latent, repeated
from comfy_core.nodes.latent_resize import CELL, resize_latent
from comfy_core.registry import BuiltIn

MAX_SIDE = 16384


def _pixels() -> tuple[str, dict[str, Any]]:
    return "INT", {"default": 0, "min": 0, "max": MAX_SIDE, "step": CELL}


class LatentComposite(BuiltIn):
    """One latent on another, its inner borders feathered."""

    DISPLAY_NAME = "Latent Composite"
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "samples_to": ("LATENT",),
                "samples_from": ("LATENT",),
                "x": _pixels(),
                "y": _pixels(),
                "feather": _pixels(),
            }
        }

    def composite(
        self,
        samples_to: Latent,
        samples_from: Latent,
        x: int,
        y: int,
        composite_method: str = "normal",
        feather: int = 0,
    ) -> tuple[Latent]:
        """What lies outside is cut off; positions and feather in pixels. There is one method, "normal"."""
        below = samples_to["samples"].clone()
        left, top, soft = x // CELL, y // CELL, feather // CELL
        height, width = below.shape[2:4]
        above = samples_from["samples"][:, :, : height - top, : width - left]
        place = below[:, :, top : top + above.shape[2], left : left + above.shape[3]]
        if soft == 0 or place.numel() == 0:
            place[:] = above if place.numel() else place
            return ({**samples_to, "samples": below},)
        rows = _ramps(above.shape[2], soft, start=top > 0, end=top + above.shape[2] < height)
        columns = _ramps(above.shape[3], soft, start=left > 0, end=left + above.shape[3] < width)
        weight = (rows[:, None] * columns[None, :]).reshape(*above.shape[2:4], *(1,) * (above.ndim - 4))
        place[:] = above * weight + place * (1.0 - weight)
        return ({**samples_to, "samples": below},)


def _ramps(length: int, soft: int, *, start: bool, end: bool) -> torch.Tensor:
    """[length]: rising to 1 over `soft` cells from each side that is inside the picture below."""
    weight = torch.ones(length)
    for step in range(soft):
        if start:
            weight[step : step + 1] *= (step + 1) / soft
        if end:
            weight[length - 1 - step : length - step] *= (step + 1) / soft
    return weight


class LatentCompositeMasked(BuiltIn):
    """One latent on another where a mask says so."""

    CATEGORY = "latent"
    PYTHON_MODULE = "comfy_extras.nodes_mask"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "composite"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "destination": ("LATENT",),
                "source": ("LATENT",),
                "x": _pixels(),
                "y": _pixels(),
                "resize_source": ("BOOLEAN", {"default": False}),
            },
            "optional": {"mask": ("MASK",)},
        }

    def composite(
        self,
        destination: Latent,
        source: Latent,
        x: int,
        y: int,
        resize_source: bool,
        mask: torch.Tensor | None = None,
    ) -> tuple[Latent]:
        """The mask is scaled to the source; positions in pixels."""
        below, above = destination["samples"].clone(), source["samples"]
        if resize_source:
            above = resize_latent(above, below.shape[-1], below.shape[-2], "bilinear")
        return ({**destination, "samples": lay(below, repeated(above, below.shape[0]), x // CELL, y // CELL, mask)},)


def lay(below: torch.Tensor, above: torch.Tensor, left: int, top: int, mask: torch.Tensor | None) -> torch.Tensor:
    """Write `above` into `below` (both [B, C, ..., H, W]) at a place in cells, cut at the borders; returns `below`."""
    height, width = above.shape[-2:]
    left, top = (max(-size, min(start, whole)) for size, start, whole in _axes(above, below, left, top))
    across = slice(max(-left, 0), max(-left, 0) + min(width + min(left, 0), below.shape[-1] - max(left, 0)))
    down = slice(max(-top, 0), max(-top, 0) + min(height + min(top, 0), below.shape[-2] - max(top, 0)))
    piece = above[..., down, across]
    place = below[..., max(top, 0) : max(top, 0) + piece.shape[-2], max(left, 0) : max(left, 0) + piece.shape[-1]]
    if mask is None:
        place[:] = piece
        return below
    weight = _mask_for(above, mask)[..., down, across]
    place[:] = piece * weight + place * (1.0 - weight)
    return below


def _axes(above: torch.Tensor, below: torch.Tensor, left: int, top: int) -> tuple[tuple[int, int, int], ...]:
    return (above.shape[-1], left, below.shape[-1]), (above.shape[-2], top, below.shape[-2])


def _mask_for(above: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, 1, ..., H, W] of the source's size and batch."""
    flat = mask.reshape((-1, 1, *mask.shape[-2:]))
    scaled = torch.nn.functional.interpolate(flat, size=above.shape[-2:], mode="bilinear")
    return repeated(scaled, above.shape[0]).reshape(above.shape[0], *(1,) * (above.ndim - 3), *above.shape[-2:])


class LatentBlend(BuiltIn):
    """Two latents, mixed."""

    DISPLAY_NAME = "Latent Blend"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "blend"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        factor = {"default": 0.5, "min": 0, "max": 1, "step": 0.01}
        return {"required": {"samples1": ("LATENT",), "samples2": ("LATENT",), "blend_factor": ("FLOAT", factor)}}

    def blend(
        self,
        samples1: Latent,
        samples2: Latent,
        blend_factor: float,
        blend_mode: str = "normal",
    ) -> tuple[Latent]:
        """factor of the first, the rest of the second, which takes the first one's size. There is one mode."""
        first, second = samples1["samples"], samples2["samples"]
        if first.shape[-2:] != second.shape[-2:]:
            second = resize_latent(second, first.shape[-1], first.shape[-2], "bicubic", crop=True)
        return ({**samples1, "samples": first * blend_factor + second * (1.0 - blend_factor)},)


NODES = (LatentComposite, LatentCompositeMasked, LatentBlend)
