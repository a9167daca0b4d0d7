"""Scaling an IMAGE to a size. It knows the methods, not the nodes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE

METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def resize(image: torch.Tensor, width: int, height: int, method: str, *, crop: bool = False) -> torch.Tensor:
    """[B, H, W, C] to [B, height, width, C]. crop: cut the centre to the new proportions instead of distorting."""
    require(image.shape[0] * width * height * image.shape[3] * BYTES_PER_VALUE * 2, f"scaling to {width}x{height}")
    if crop:
        image = _centre(image, width, height)
    if method == "lanczos":
        return _lanczos(image, width, height)
    planes = image.movedim(-1, 1)
    return torch.nn.functional.interpolate(planes, size=(height, width), mode=method).movedim(1, -1)


def _centre(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """The largest centred part with the proportions width : height."""
    old_height, old_width = image.shape[1:3]
    old, new = old_width / old_height, width / height
    x = round(old_width * (1 - new / old) / 2) if old > new else 0
    y = round(old_height * (1 - old / new) / 2) if old < new else 0
    return image[:, y : old_height - y, x : old_width - x]


def _lanczos(image: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """By PIL on 8-bit values; alpha weighs the colours beside it. Channels that are no picture go one at a time."""
    scaled = torch.empty((image.shape[0], height, width, image.shape[3]))
    values = np.clip(image.cpu().numpy() * 255.0, 0, 255).astype(np.uint8)
    for index, frame in enumerate(values):
        bands = [frame] if frame.shape[2] in (3, 4) else np.split(frame, frame.shape[2], axis=2)
        grown = [_by_pil(band, width, height) for band in bands]
        scaled[index] = torch.from_numpy(np.concatenate(grown, axis=2))
    return scaled


def _by_pil(values: np.ndarray, width: int, height: int) -> np.ndarray:
    picture = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
    scaled = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32) / 255.0
    return scaled.reshape(height, width, -1)
