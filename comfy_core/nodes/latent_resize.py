"""Scaling a latent to a size, by ComfyUI's five methods. It knows tensors, not the nodes.

A latent's samples are float32 [B, C, H, W], or [B, C, T, H, W] with time; width and height count latent cells.
"""

from __future__ import annotations

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require

METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
CELL = 8
"""Pixels along one side of a latent cell."""
NEARLY_PARALLEL = 1e-5


def resize_latent(samples: torch.Tensor, width: int, height: int, method: str, *, crop: bool = False) -> torch.Tensor:
    """[B, C, ..., H, W] to [B, C, ..., height, width]. crop: cut the centre to the new proportions first.

    Further dimensions (time) are scaled each by itself. Raises InputRefused for what has no height and width.
    """
    if samples.ndim < 4:
        raise InputRefused(f"a latent of shape {list(samples.shape)} has no height and width to scale")
    cells = samples.numel() // max(samples.shape[-1] * samples.shape[-2], 1) * width * height
    require(cells * samples.element_size() * 2, f"scaling a latent to {width}x{height}")
    if samples.ndim > 4:
        batch, channels, *between = samples.shape[:-2]
        flat = samples.movedim(1, -3).reshape(-1, channels, *samples.shape[-2:])
        scaled = _resize(flat, width, height, method, crop=crop)
        return scaled.reshape(batch, *between, channels, height, width).movedim(-3, 1)
    return _resize(samples, width, height, method, crop=crop)


def _resize(samples: torch.Tensor, width: int, height: int, method: str, *, crop: bool) -> torch.Tensor:
    if crop:
        samples = _centre(samples, width, height)
    if method == "bislerp":
        return bislerp(samples, width, height)
    return torch.nn.functional.interpolate(samples, size=(height, width), mode=method)


def _centre(samples: torch.Tensor, width: int, height: int) -> torch.Tensor:
    old_height, old_width = samples.shape[-2:]
    old, new = old_width / old_height, width / height
    x = round((old_width - old_width * (new / old)) / 2) if old > new else 0
    y = round((old_height - old_height * (old / new)) / 2) if old < new else 0
    return samples[..., y : old_height - y, x : old_width - x]


def bislerp(samples: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """[B, C, H, W] to [B, C, height, width]: between neighbours, turn the channel vector and blend its length.

    Shoemake 1985: slerp(a, b; r) = (sin((1-r)w) a + sin(rw) b) / sin w, w the angle between a and b.
    """
    wide = _slerp_last(samples.float(), width)
    tall = _slerp_last(wide.transpose(-1, -2), height).transpose(-1, -2)
    return tall.contiguous().to(samples.dtype)


def _slerp_last(values: torch.Tensor, length: int) -> torch.Tensor:
    """[B, C, H, W] to [B, C, H, length]; sample positions as bilinear interpolation has them."""
    old = values.shape[-1]
    index = torch.arange(old, dtype=torch.float32, device=values.device).reshape(1, 1, old)
    first = torch.nn.functional.interpolate(index, size=length, mode="linear").flatten()
    low = first.floor().long()
    high = (low + 1).clamp(max=old - 1)
    return _slerp(values[..., low], values[..., high], first - low)


def _slerp(first: torch.Tensor, second: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """Channel vectors between two, ratio 0..1 along the last dimension."""
    length_a, length_b = (one.norm(dim=1, keepdim=True) for one in (first, second))
    unit_a, unit_b = (
        torch.where(size == 0, torch.zeros_like(one), one / size)
        for one, size in ((first, length_a), (second, length_b))
    )
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    turned = (torch.sin((1.0 - ratio) * angle) / sine) * unit_a + (torch.sin(ratio * angle) / sine) * unit_b
    turned = turned * (length_a * (1.0 - ratio) + length_b * ratio)
    turned = torch.where(cosine > 1 - NEARLY_PARALLEL, first, turned)
    return torch.where(cosine < NEARLY_PARALLEL - 1, first * (1.0 - ratio) + second * ratio, turned)
