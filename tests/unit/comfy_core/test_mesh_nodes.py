"""Voxels become meshes, and meshes become glTF files."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from comfy_core.errors import InputRefused
from tests.unit.comfy_core.bound_nodes import call, nodes_in, one


@dataclass
class Voxel:
    """What a node gives as VOXEL."""

    data: torch.Tensor


def ball(size: int = 12, radius: float = 3.3) -> Voxel:
    """Positive inside a ball that lies off the middle."""
    z, y, x = torch.meshgrid(*(torch.arange(size + more) for more in (0, 1, 2)), indexing="ij")
    return Voxel((radius - ((x - 6.3) ** 2 + (y - 5.8) ** 2 + (z - 5.6) ** 2).sqrt())[None])


def volume(mesh: Any) -> float:
    """Signed volume within the triangles: positive when they turn outward."""
    a, b, c = mesh.vertices[0][mesh.faces[0]].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_one_voxel_is_a_cube() -> None:
    """Six sides of two triangles, a third of the block wide, turned outward."""
    data = torch.zeros(1, 3, 3, 3)
    data[0, 1, 1, 1] = 1.0
    mesh = one("VoxelToMeshBasic", voxel=Voxel(data), threshold=0.6)
    assert (mesh.vertices.shape[1], mesh.faces.shape[1]) == (24, 12)
    assert volume(mesh) == pytest.approx((2 / 3) ** 3)
    beside = torch.zeros(1, 3, 3, 4)
    beside[0, 1, 1, 1:3] = 1.0
    assert one("VoxelToMesh", voxel=Voxel(beside), threshold=0.6, algorithm="basic").faces.shape[1] == 20


@pytest.mark.parametrize("threshold", [0.0, 0.8])
def test_a_surface_net_is_a_closed_surface_around_the_shape(threshold: float) -> None:
    """Every edge belongs to two triangles, in both directions; it lies near the ball and, averaged, a little inside."""
    mesh = one("VoxelToMesh", voxel=ball(), threshold=threshold, algorithm="surface net")
    edges = [(int(face[side]), int(face[(side + 1) % 3])) for face in mesh.faces[0] for side in range(3)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)
    cells = (mesh.vertices[0] + 1) * 14 / 2
    distance = (cells - torch.tensor([7.3, 6.8, 6.6])).norm(dim=1)
    assert (distance - (3.3 - threshold)).abs().max() < 0.5
    wanted = 4 / 3 * 3.14159 * (3.3 - threshold) ** 3 * (2 / 14) ** 3
    assert 0.75 * wanted < volume(mesh) < wanted


def test_shapes_of_other_sizes_cannot_share_a_mesh() -> None:
    """The tensors of a batch are of one size; what is no voxel block is refused."""
    data = torch.zeros(2, 3, 3, 3)
    data[0, 1, 1, 1] = 1.0
    with pytest.raises(InputRefused, match="one by one"):
        call("VoxelToMeshBasic", voxel=Voxel(data), threshold=0.6)
    with pytest.raises(InputRefused, match="four dimensions"):
        call("VoxelToMeshBasic", voxel=Voxel(data[0]), threshold=0.6)


def test_a_mesh_is_saved_as_gltf(tmp_path: Path) -> None:
    """Header, JSON and numbers are where the format wants them, with the workflow inside; empty meshes are refused."""
    registry = nodes_in(tmp_path)
    mesh = one("VoxelToMesh", voxel=ball(), threshold=0.0, algorithm="surface net")
    hidden = {"prompt": {"1": {}}, "extra_pnginfo": None}
    (shown,) = call("SaveGLB", registry, hidden, mesh=mesh, filename_prefix="mesh/ball")["ui"]["3d"]
    content = (tmp_path / "output" / "mesh" / shown["filename"]).read_bytes()
    assert struct.unpack("<4sII", content[:12]) == (b"glTF", 2, len(content))
    length, kind = struct.unpack("<I4s", content[12:20])
    described = json.loads(content[20 : 20 + length])
    assert (kind, length % 4) == (b"JSON", 0)
    assert json.loads(described["asset"]["extras"]["prompt"]) == {"1": {}}
    numbers = content[28 + length :]
    places, corners = described["bufferViews"]
    read = torch.frombuffer(bytearray(numbers[: places["byteLength"]]), dtype=torch.float32).reshape(-1, 3)
    assert torch.equal(read, mesh.vertices[0])
    faces = torch.frombuffer(bytearray(numbers[corners["byteOffset"] :]), dtype=torch.int32).reshape(-1, 3)
    assert torch.equal(faces.long(), mesh.faces[0])
    empty = one("VoxelToMeshBasic", voxel=Voxel(torch.zeros(1, 2, 2, 2)), threshold=0.6)
    with pytest.raises(InputRefused, match="empty"):
        call("SaveGLB", registry, mesh=empty, filename_prefix="x")
