"""The two ends of a real-time workflow: a picture that a client sends, and one that it gets back over the socket.

In a real-time run the agent puts the client's pictures in the input's place; in any other the default goes through.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch

from comfy_core import progress
from comfy_core.nodes.pixels import to_pictures
from comfy_core.registry import BuiltIn

CATEGORY = "deploy"
MODULE = "custom_nodes.comfyui-deploy"
SIDE = 512
LARGEST_SEED = 2**64 - 1
FORMATS: dict[str, str] = {"WEBP": "JPEG", "JPEG": "JPEG", "PNG": "PNG"}
"""What a file type is sent as: the socket has no WebP."""


class ComfyDeployWebscoketImageInput(BuiltIn):
    """A picture of the client's. The name is the one that workflows have."""

    DISPLAY_NAME = "Image Websocket Input (ComfyDeploy)"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("images",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "input_id": ("STRING", {"multiline": False, "default": "input_id"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": LARGEST_SEED}),
            },
            "optional": {
                "default_value": ("IMAGE",),
                "client_id": ("STRING", {"multiline": False, "default": ""}),
            },
        }

    def run(self, default_value: torch.Tensor | None = None, **_: Any) -> tuple[torch.Tensor]:
        """The default, or black where there is none."""
        return (torch.zeros(1, SIDE, SIDE, 3) if default_value is None else default_value,)


class ComfyDeployWebscoketImageOutput(BuiltIn):
    """Pictures for the client, sent over the socket and not written."""

    DISPLAY_NAME = "Image Websocket Output (ComfyDeploy)"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "output_id": ("STRING", {"multiline": False, "default": "output_id"}),
                "images": ("IMAGE",),
                "file_type": (["WEBP", "PNG", "JPEG"],),
                "quality": ("INT", {"default": 80, "min": 1, "max": 100, "step": 1}),
            },
            "optional": {"client_id": ("STRING", {"multiline": False, "default": ""})},
        }

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802
        """Sent anew in every run."""
        return time.time()

    def run(self, images: torch.Tensor, file_type: str = "WEBP", **_: Any) -> dict[str, Any]:
        """Each frame as a step of progress."""
        kind = FORMATS.get(file_type, "JPEG")
        for step, picture in enumerate(to_pictures(images)):
            progress.advance(step, len(images), (kind, picture, None))
        return {}


NODES = (ComfyDeployWebscoketImageInput, ComfyDeployWebscoketImageOutput)
