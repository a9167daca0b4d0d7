"""Nodes around 3D models: the user interface draws and uploads, these read what it drew. They render nothing."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.nodes.pixels import read_image
from comfy_core.registry import BuiltIn
from comfy_core.v3.video import VideoFromFile

MODULE = "comfy_extras.nodes_load_3d"
CATEGORY = "3d"
ENDINGS = frozenset({".gltf", ".glb", ".obj", ".fbx", ".stl"})


class Load3D(BuiltIn):
    """A model of the input folder's `3d`, as the user interface drew it."""

    DISPLAY_NAME = "Load 3D"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES: ClassVar[tuple[str, ...]] = (
        "IMAGE",
        "MASK",
        "STRING",
        "IMAGE",
        "IMAGE",
        "LOAD3D_CAMERA",
        "VIDEO",
    )
    RETURN_NAMES: ClassVar[tuple[str, ...]] = (
        "image",
        "mask",
        "mesh_path",
        "normal",
        "lineart",
        "camera_info",
        "recording_video",
    )
    FUNCTION = "process"
    EXPERIMENTAL = True
    DRAWN: ClassVar[str] = "LOAD_3D"
    LINES: ClassVar[bool] = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        side = {"default": 1024, "min": 1, "max": 4096, "step": 1}
        return {
            "required": {
                "model_file": (cls._models(), {"file_upload": True}),
                "image": (cls.DRAWN, {}),
                "width": ("INT", side),
                "height": ("INT", dict(side)),
            }
        }

    @classmethod
    def _models(cls) -> list[str]:
        root = cls.services.folders.input
        found = (root / "3d").rglob("*") if (root / "3d").is_dir() else ()
        return sorted(path.relative_to(root).as_posix() for path in found if path.suffix.lower() in ENDINGS)

    def process(self, model_file: str, image: dict[str, Any], **_: Any) -> tuple[Any, ...]:
        """`image` names the uploaded files: image, mask, normal, lineart, recording; and says where the camera was."""
        if not isinstance(image, dict):
            raise InputRefused("what was drawn is a dict of file names")
        seen, mask = self._read(image, "image")[0], self._read(image, "mask")[1]
        more = [self._read(image, name)[0] for name in (("normal", "lineart") if self.LINES else ("normal",))]
        return (seen, mask, model_file, *more, image.get("camera_info"), self._recorded(image))

    def _read(self, drawn: dict[str, Any], what: str) -> tuple[torch.Tensor, torch.Tensor]:
        name = drawn.get(what)
        if not isinstance(name, str) or not name:
            raise InputRefused(f"the user interface has not uploaded what it drew: {what} is missing")
        return read_image(self.services.folders.find_annotated(name), name)

    def _recorded(self, drawn: dict[str, Any]) -> VideoFromFile | None:
        name = drawn.get("recording")
        return VideoFromFile(str(self.services.folders.find_annotated(str(name)))) if name else None


class Load3DAnimation(Load3D):
    """A model that moves."""

    DISPLAY_NAME = "Load 3D - Animation"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE", "MASK", "STRING", "IMAGE", "LOAD3D_CAMERA", "VIDEO")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = (
        "image",
        "mask",
        "mesh_path",
        "normal",
        "camera_info",
        "recording_video",
    )
    DRAWN = "LOAD_3D_ANIMATION"
    LINES = False


class Preview3D(BuiltIn):
    """Tells the user interface which model to draw."""

    DISPLAY_NAME = "Preview 3D"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "process"
    OUTPUT_NODE = True
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {"model_file": ("STRING", {"default": "", "multiline": False})},
            "optional": {"camera_info": ("LOAD3D_CAMERA", {})},
        }

    def process(self, model_file: str, **more: Any) -> dict[str, Any]:
        """The name and where to look from, if that is known."""
        return {"ui": {"result": [model_file, more.get("camera_info")]}}


class Preview3DAnimation(Preview3D):
    """The same for a model that moves."""

    DISPLAY_NAME = "Preview 3D - Animation"


NODES = (Load3D, Load3DAnimation, Preview3D, Preview3DAnimation)
