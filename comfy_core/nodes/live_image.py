"""Nodes that pass images between a run and a client's own window: over the socket, from a camera. They keep nothing."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch

from comfy_core import progress
from comfy_core.nodes.image import content_of, is_there
from comfy_core.nodes.pixels import read_image, to_pictures
from comfy_core.registry import BuiltIn

MAX_SIDE = 16384


class SaveImageWebsocket(BuiltIn):
    """Sends images to the client as binary previews, PNG, without writing a file."""

    CATEGORY = "api/image"
    PYTHON_MODULE = "custom_nodes.websocket_image_save"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"images": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, images: Any) -> float:  # noqa: N802
        """Sent anew in every run."""
        return time.time()

    def save_images(self, images: torch.Tensor) -> dict[str, Any]:
        """Each frame in its own size, as a step of progress."""
        pictures = to_pictures(images)
        for step, picture in enumerate(pictures):
            progress.advance(step, len(images), ("PNG", picture, None))
        return {}


class WebcamCapture(BuiltIn):
    """A picture that the user interface took with a camera and uploaded."""

    DISPLAY_NAME = "Webcam Capture"
    CATEGORY = "image"
    PYTHON_MODULE = "comfy_extras.nodes_webcam"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    FUNCTION = "load_capture"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        side = {"default": 0, "min": 0, "max": MAX_SIDE, "step": 1}
        return {
            "required": {
                "image": ("WEBCAM", {}),
                "width": ("INT", side),
                "height": ("INT", dict(side)),
                "capture_on_queue": ("BOOLEAN", {"default": True}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, image: str, width: int, height: int, capture_on_queue: bool) -> str:  # noqa: N802
        """The content decides."""
        return content_of(cls, image)

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None) -> bool | str:  # noqa: N802
        """The picture must have been uploaded."""
        return is_there(cls, image)

    def load_capture(self, image: str, **_: Any) -> tuple[torch.Tensor]:
        """width and height were for the camera."""
        return (read_image(self.services.folders.find_annotated(image), image)[0],)


NODES = (SaveImageWebsocket, WebcamCapture)
