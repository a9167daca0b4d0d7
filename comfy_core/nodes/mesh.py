"""Nodes that turn a block of voxels into a mesh. They know no model and no file.

A VOXEL has `data` float32 [B, D, H, W]; a MESH has `vertices` float32 [B, V, 3] in -1..1 as (x, y, z), x along W, and
`faces` int64 [B, F, 3], triangles by vertex number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.registry import BuiltIn

Triangles = tuple[torch.Tensor, torch.Tensor]

SIDES = (
    ((0, 0, 1), ((0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 1))),
    ((0, 0, -1), ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))),
    ((0, 1, 0), ((0, 1, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1))),
    ((0, -1, 0), ((0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0))),
    ((1, 0, 0), ((1, 0, 1), (1, 1, 1), (1, 1, 0), (1, 0, 0))),
    ((-1, 0, 0), ((0, 1, 0), (0, 1, 1), (0, 0, 1), (0, 0, 0))),
)
"""Where the neighbour on a side of a voxel lies, and that side's corners counterclockwise from outside; (z, y, x)."""
CORNERS = tuple(product((0, 1), repeat=3))
EDGES = tuple(
    (corner, (*corner[:axis], 1, *corner[axis + 1 :])) for corner in CORNERS for axis in range(3) if not corner[axis]
)
"""The twelve edges of a cell, each from its lower to its higher corner."""
BYTES = 8


@dataclass(slots=True)
class Mesh:
    """A MESH."""

    vertices: torch.Tensor
    faces: torch.Tensor


def blocks(inside: torch.Tensor) -> Triangles:
    """The sides of the voxels [D, H, W] that face empty ones, corners not shared."""
    padded = torch.nn.functional.pad(inside, (1,) * 6)
    quads = []
    for (z, y, x), corners in SIDES:
        depth, height, width = inside.shape
        neighbour = padded[1 + z : 1 + z + depth, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        where = torch.nonzero(inside & ~neighbour)
        quads.append(where[:, None] + torch.tensor(corners))
    faces, first = [], 0
    for side in quads:
        faces.append(_two_triangles(first + torch.arange(side.shape[0] * 4).reshape(-1, 4)))
        first += side.shape[0] * 4
    return torch.cat(quads).reshape(-1, 3).float(), torch.cat(faces)


def _two_triangles(quads: torch.Tensor) -> torch.Tensor:
    """[Q, 4] corners in turn to [2 Q, 3]: the first halves, then the others."""
    return torch.cat((quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]))


def surface_net(values: torch.Tensor, threshold: float) -> Triangles:
    """A smooth surface where [D, H, W] crosses the threshold (Gibson 1998): a vertex per cell, amid its crossings."""
    padded = torch.nn.functional.pad(values, (1,) * 6)
    cells = tuple(size - 1 for size in padded.shape)
    at = {corner: _shifted(padded, corner, cells) for corner in CORNERS}
    total, count = torch.zeros((*cells, 3)), torch.zeros(cells)
    for first, second in EDGES:
        low, high = at[first], at[second]
        crosses = (low > threshold) != (high > threshold)
        part = torch.where(crosses, (threshold - low) / (high - low), torch.zeros_like(low))
        place = torch.tensor(first).float() + part[..., None] * (torch.tensor(second) - torch.tensor(first))
        total += torch.where(crosses[..., None], place, torch.zeros_like(place))
        count += crosses
    where = torch.nonzero(count)
    number = torch.full(cells, -1, dtype=torch.long)
    number[tuple(where.T)] = torch.arange(where.shape[0])
    vertices = where + total[tuple(where.T)] / count[tuple(where.T)][:, None]
    return vertices, _two_triangles(torch.cat([_around(padded > threshold, number, axis) for axis in range(3)]))


def _shifted(values: torch.Tensor, by: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    return values[tuple(slice(start, start + length) for start, length in zip(by, size, strict=True))]


def _around(inside: torch.Tensor, number: torch.Tensor, axis: int) -> torch.Tensor:
    """[Q, 4]: the cells around each edge along an axis that leaves the inside, in turn seen from outside."""
    others = [other for other in range(3) if other != axis]
    size = [length - 1 if dim == axis else length - 2 for dim, length in enumerate(inside.shape)]
    start = [0 if dim == axis else 1 for dim in range(3)]
    here = _shifted(inside, tuple(start), tuple(size))
    there = _shifted(inside, tuple(value + (dim == axis) for dim, value in enumerate(start)), tuple(size))
    where = torch.nonzero(here != there)
    ring = []
    for one, two in ((0, 0), (1, 0), (1, 1), (0, 1)):
        cell = where.clone()
        cell[:, others[0]] += one
        cell[:, others[1]] += two
        ring.append(number[tuple(cell.T)])
    quads = torch.stack(ring, dim=1)
    leaves = here[tuple(where.T)] ^ (axis == 1)
    return torch.where(leaves[:, None], quads.flip(1), quads)


def meshed(voxel: Any, make: Callable[[torch.Tensor], Triangles]) -> Mesh:
    """A mesh of each item of the batch. Raises InputRefused when they cannot share one batch."""
    data = voxel.data
    if data.ndim != 4:
        raise InputRefused(f"voxels have four dimensions, not {data.ndim}")
    require(data.numel() * BYTES * 16, "meshing")
    made = [make(one) for one in data.float().cpu()]
    if len({(len(vertices), len(faces)) for vertices, faces in made}) > 1:
        raise InputRefused("the shapes of the batch have meshes of different sizes; mesh them one by one")
    size = max(data.shape[1:])
    vertices = torch.stack([vertices for vertices, _ in made]).flip(-1) / size * 2.0 - 1.0
    return Mesh(vertices, torch.stack([faces for _, faces in made]))


class VoxelToMeshBasic(BuiltIn):
    """The visible sides of every voxel above a threshold."""

    CATEGORY = "3d"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan3d"
    RETURN_TYPES = ("MESH",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"voxel": ("VOXEL",), "threshold": _threshold()}}

    def decode(self, voxel: Any, threshold: float) -> tuple[Mesh]:
        """Like building blocks."""
        return (meshed(voxel, lambda values: blocks(values > threshold)),)


def _threshold() -> tuple[str, dict[str, Any]]:
    return "FLOAT", {"default": 0.6, "min": -1.0, "max": 1.0, "step": 0.01}


class VoxelToMesh(BuiltIn):
    """A mesh around what is above a threshold."""

    CATEGORY = "3d"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan3d"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("MESH",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        algorithms = ["surface net", "basic"]
        return {"required": {"voxel": ("VOXEL",), "algorithm": (algorithms,), "threshold": _threshold()}}

    def decode(self, voxel: Any, algorithm: str, threshold: float) -> tuple[Mesh]:
        """Smooth, or like building blocks."""
        if algorithm == "basic":
            return (meshed(voxel, lambda values: blocks(values > threshold)),)
        return (meshed(voxel, lambda values: surface_net(values, threshold)),)


NODES: tuple[type[BuiltIn], ...] = (VoxelToMeshBasic, VoxelToMesh)
