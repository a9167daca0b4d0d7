"""The node that saves meshes as binary glTF 2.0 files. It knows no voxels and no renderer."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.audio_file import tags_of
from comfy_core.nodes.saving import place_for
from comfy_core.registry import BuiltIn

MAGIC, VERSION = b"glTF", 2
FLOAT, UNSIGNED = 5126, 5125
VERTEX_DATA, INDEX_DATA = 34962, 34963
TRIANGLES = 4
ALIGNED = 4


class SaveGLB(BuiltIn):
    """GLB files in the output folder, with the workflow inside."""

    CATEGORY = "3d"
    PYTHON_MODULE = "comfy_extras.nodes_hunyuan3d"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {"mesh": ("MESH",), "filename_prefix": ("STRING", {"default": "mesh/ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(
        self, mesh: Any, filename_prefix: str, prompt: Any = None, extra_pnginfo: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Each mesh of the batch as <prefix>_<counter>_.glb."""
        place = place_for(filename_prefix, self.services.folders.of_kind("output"))
        extras = tags_of(prompt, extra_pnginfo) if self.services.metadata else {}
        saved = []
        for index, (vertices, faces) in enumerate(zip(mesh.vertices, mesh.faces, strict=True)):
            made = glb(vertices, faces, extras)
            name, path = place.next(index, "glb")
            path.write_bytes(made)
            saved.append({"filename": name, "subfolder": place.subfolder, "type": "output"})
        return {"ui": {"3d": saved}}


def glb(vertices: torch.Tensor, faces: torch.Tensor, extras: Mapping[str, str]) -> bytes:
    """One file of vertices [V, 3] and triangles [F, 3]. Raises InputRefused for an empty or broken mesh."""
    if not vertices.numel() or not faces.numel():
        raise InputRefused("the mesh is empty")
    if int(faces.min()) < 0 or int(faces.max()) >= vertices.shape[0]:
        raise InputRefused("the mesh has triangles of vertices it does not have")
    require((vertices.numel() + faces.numel()) * 12, "SaveGLB")
    points = vertices.detach().cpu().float().contiguous()
    places = points.numpy().astype("<f4").tobytes()
    corners = faces.detach().cpu().numpy().astype("<u4").tobytes()
    asset = {"version": "2.0", "generator": "ComfyFleet"} | ({"extras": dict(extras)} if extras else {})
    described = {
        "asset": asset,
        "buffers": [{"byteLength": len(places) + len(corners)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(places), "target": VERTEX_DATA},
            {"buffer": 0, "byteOffset": len(places), "byteLength": len(corners), "target": INDEX_DATA},
        ],
        "accessors": [
            {
                **_accessor(0, FLOAT, points.shape[0], "VEC3"),
                "max": points.amax(0).tolist(),
                "min": points.amin(0).tolist(),
            },
            _accessor(1, UNSIGNED, faces.numel(), "SCALAR"),
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": TRIANGLES}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    chunks = _chunk(b"JSON", json.dumps(described).encode(), b" ") + _chunk(b"BIN\0", places + corners, b"\0")
    return struct.pack("<4sII", MAGIC, VERSION, 12 + len(chunks)) + chunks


def _accessor(view: int, component: int, count: int, kind: str) -> dict[str, Any]:
    return {"bufferView": view, "byteOffset": 0, "componentType": component, "count": count, "type": kind}


def _chunk(kind: bytes, content: bytes, filler: bytes) -> bytes:
    padded = content + filler * (-len(content) % ALIGNED)
    return struct.pack("<I4s", len(padded), kind) + padded


NODES: tuple[type[BuiltIn], ...] = (SaveGLB,)
