"""Running a function over a tensor in overlapping tiles, any number of dimensions. It knows no models and no nodes.

Tiles begin every `tile - overlap` positions; each is weighed by ramps along its borders that are as wide as the
overlap, and what tiles share is their weighted mean.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from comfy_core.memory import require

Scale = float | Callable[[float], float]
"""A factor, or a function from a length to the length it becomes."""


class Ticks(Protocol):
    """A progress bar as packs hand one over."""

    def update(self, value: int) -> None:
        """So many more tiles are done."""


def each(value: Any, dimensions: int) -> list[Any]:
    """One value per dimension: a single one stands for all."""
    return list(value) if isinstance(value, tuple | list) else [value] * dimensions


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one dimension; one tile where all fits in."""
    return [0] if length <= tile else list(range(0, length - overlap, tile - overlap))


def count(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles a picture needs."""
    return len(starts(height, tile_y, overlap)) * len(starts(width, tile_x, overlap))


def scaled(length: float, scale: Scale, *, down: bool) -> float:
    """What a length becomes."""
    if callable(scale):
        return scale(length)
    return length / scale if down else length * scale


class Grid:
    """How tiles of one sample lie in the input and in the output."""

    def __init__(self, tile: Sequence[int], overlap: Sequence[int], scales: Sequence[Scale], *, down: bool) -> None:
        self.tile, self.overlap, self.scales, self.down = tile, overlap, scales, down
        self.indexes: Sequence[Scale] = scales

    def out_length(self, dimension: int, length: float) -> int:
        """What a length in the input is in the output."""
        return round(scaled(length, self.scales[dimension], down=self.down))

    def out_index(self, dimension: int, index: int) -> int:
        """Where a position of the input is in the output."""
        return round(scaled(index, self.indexes[dimension], down=self.down))

    def corners(self, shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Where each tile begins."""
        sides = zip(shape, self.tile, self.overlap, strict=True)
        return itertools.product(*(starts(length, tile, overlap) for length, tile, overlap in sides))

    def cut(self, sample: torch.Tensor, corner: Sequence[int]) -> torch.Tensor:
        """The tile that begins there."""
        for dimension, begin in enumerate(corner):
            length = min(self.tile[dimension], sample.shape[dimension + 2] - begin)
            sample = sample.narrow(dimension + 2, begin, length)
        return sample

    def weight(self, part: torch.Tensor) -> torch.Tensor:
        """1 in the middle of a tile of the output, falling in straight lines along its borders."""
        weight = torch.ones_like(part)
        for dimension, overlap in enumerate(self.overlap):
            reach = self.out_length(dimension, overlap)
            length = part.shape[dimension + 2]
            if reach >= length:
                continue
            rise = (torch.arange(1, length + 1, device=part.device, dtype=torch.float32) / max(reach, 1)).clamp(max=1.0)
            shape = [1] * part.ndim
            shape[dimension + 2] = length
            weight *= (rise * rise.flip(0)).to(part.dtype).reshape(shape)
        return weight


@torch.inference_mode()
def tiled_scale_multidim(
    samples: torch.Tensor,
    function: Callable[[torch.Tensor], torch.Tensor],
    tile: int | tuple[int, ...] = (64, 64),
    overlap: int | Sequence[int] = 8,
    upscale_amount: Scale | Sequence[Scale] = 4,
    out_channels: int = 3,
    output_device: str | torch.device = "cpu",
    downscale: bool = False,
    index_formulas: Scale | Sequence[Scale] | None = None,
    pbar: Ticks | None = None,
) -> torch.Tensor:
    """[B, C, ...] to [B, out_channels, ...], each sample by itself, float32 on output_device.

    upscale_amount, per dimension: how many times longer the output is (with downscale: shorter), or a function from
    the input's length to the output's. index_formulas: the same for where a tile begins, when that differs.
    """
    dimensions = samples.ndim - 2
    grid = Grid(each(tile, dimensions), each(overlap, dimensions), each(upscale_amount, dimensions), down=downscale)
    grid.indexes = grid.scales if index_formulas is None else each(index_formulas, dimensions)
    shape = [grid.out_length(dimension, length) for dimension, length in enumerate(samples.shape[2:])]
    require(4 * samples.shape[0] * out_channels * math.prod(shape), "the result of the tiles")
    output = torch.empty([samples.shape[0], out_channels, *shape], device=output_device)
    for index in range(samples.shape[0]):
        _fill(output[index : index + 1], samples[index : index + 1], function, grid, pbar)
    return output


def _fill(
    output: torch.Tensor,
    sample: torch.Tensor,
    function: Callable[[torch.Tensor], torch.Tensor],
    grid: Grid,
    pbar: Ticks | None,
) -> None:
    if all(length <= tile for length, tile in zip(sample.shape[2:], grid.tile, strict=True)):
        output.copy_(function(sample))
        _tick(pbar)
        return
    output.zero_()
    total = torch.zeros_like(output)
    for corner in grid.corners(sample.shape[2:]):
        part = function(grid.cut(sample, corner)).to(output.device)
        weight = grid.weight(part)
        _window(output, grid, corner, part).add_(part * weight)
        _window(total, grid, corner, part).add_(weight)
        _tick(pbar)
    output.div_(total)


def _window(whole: torch.Tensor, grid: Grid, corner: Sequence[int], part: torch.Tensor) -> torch.Tensor:
    for dimension, begin in enumerate(corner):
        whole = whole.narrow(dimension + 2, grid.out_index(dimension, begin), part.shape[dimension + 2])
    return whole


def _tick(pbar: Ticks | None) -> None:
    if pbar is not None:
        pbar.update(1)


def tiled_scale(
    samples: torch.Tensor,
    function: Callable[[torch.Tensor], torch.Tensor],
    tile_x: int = 64,
    tile_y: int = 64,
    overlap: int = 8,
    upscale_amount: float = 4,
    out_channels: int = 3,
    output_device: str | torch.device = "cpu",
    pbar: Ticks | None = None,
) -> torch.Tensor:
    """tiled_scale_multidim for pictures, [B, C, H, W]."""
    tile = (tile_y, tile_x)
    return tiled_scale_multidim(
        samples, function, tile, overlap, upscale_amount, out_channels, output_device=output_device, pbar=pbar
    )
