"""Running an enlarging function over an image in overlapping tiles. It knows no models and no nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

Enlarge = Callable[[torch.Tensor], torch.Tensor]


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side; the last one may be smaller, as in ComfyUI, but is larger than the overlap."""
    if length <= tile:
        return [0]
    return list(range(0, length - overlap, tile - overlap))


def count(height: int, width: int, tile: int, overlap: int) -> int:
    """How many tiles an image needs."""
    return len(starts(height, tile, overlap)) * len(starts(width, tile, overlap))


def enlarge_tiled(
    image: torch.Tensor, enlarge: Enlarge, scale: int, tile: int, overlap: int, tick: Callable[[], None]
) -> torch.Tensor:
    """[C, H, W] to [C, H * scale, W * scale] on the CPU. tick is called after each tile and may raise to stop."""
    channels, height, width = image.shape
    total = torch.zeros((channels, height * scale, width * scale))
    weight = torch.zeros((1, height * scale, width * scale))
    for top, left in _corners(height, width, tile, overlap):
        part = enlarge(image[None, :, top : top + tile, left : left + tile])[0].float().cpu()
        fade = _fade(part.shape[1], overlap * scale)[:, None] * _fade(part.shape[2], overlap * scale)[None, :]
        rows = slice(top * scale, top * scale + part.shape[1])
        columns = slice(left * scale, left * scale + part.shape[2])
        total[:, rows, columns] += part * fade
        weight[:, rows, columns] += fade
        tick()
    return total.div_(weight)


def _corners(height: int, width: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    for top in starts(height, tile, overlap):
        for left in starts(width, tile, overlap):
            yield top, left


def _fade(length: int, reach: int) -> torch.Tensor:
    """1 in the middle, falling in a straight line to near 0 at both ends."""
    rise = torch.arange(1, length + 1, dtype=torch.float32) / max(reach, 1)
    return torch.minimum(rise, rise.flip(0)).clamp(max=1.0)
