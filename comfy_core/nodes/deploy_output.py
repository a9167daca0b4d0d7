"""The named outputs of a deployed workflow: each item carries the output_id it is asked for by."""

from __future__ import annotations

from typing import Any

import torch

from comfy_core.nodes.pixels import png_metadata, to_pictures
from comfy_core.nodes.preview import as_text
from comfy_core.nodes.saving import place_for
from comfy_core.registry import BuiltIn

CATEGORY = "deploy"
MODULE = "custom_nodes.comfyui-deploy"
HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


class ComfyDeployOutputImage(BuiltIn):
    """Images under a name."""

    DISPLAY_NAME = "Image Output"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "images": ("IMAGE",),
                "filename_prefix": ("STRING", {"default": "ComfyUI"}),
                "file_type": (["png", "jpg", "webp"],),
                "quality": ("INT", {"default": 80, "min": 1, "max": 100, "step": 1}),
            },
            "optional": {"output_id": ("STRING", {"default": "output_images"})},
            "hidden": HIDDEN,
        }

    def run(
        self,
        images: torch.Tensor,
        filename_prefix: str = "ComfyUI",
        file_type: str = "png",
        quality: int = 80,
        output_id: str = "output_images",
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write each frame; quality counts for jpg and webp."""
        pictures = to_pictures(images)
        folder = self.services.folders.output
        folder.mkdir(parents=True, exist_ok=True)
        place = place_for(filename_prefix, folder, images.shape[2], images.shape[1])
        saved = []
        for index, picture in enumerate(pictures):
            name, path = place.next(index, file_type)
            if file_type == "png":
                chunks = png_metadata(prompt, extra_pnginfo) if self.services.metadata else None
                picture.save(path, pnginfo=chunks)
            else:
                picture.convert("RGB").save(path, quality=quality)
            facts = {"filename": name, "subfolder": place.subfolder, "type": "output", "output_id": output_id}
            saved.append(facts)
        return {"ui": {"images": saved}}


class ComfyDeployOutputText(BuiltIn):
    """A text file under a name."""

    DISPLAY_NAME = "Text Output"
    CATEGORY = CATEGORY
    PYTHON_MODULE = MODULE
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "text": ("STRING", {"forceInput": True}),
                "filename_prefix": ("STRING", {"default": "ComfyUI"}),
                "file_type": (["txt", "json", "md"],),
            },
            "optional": {"output_id": ("STRING", {"default": "output_text"})},
        }

    def run(
        self,
        text: Any,
        filename_prefix: str = "ComfyUI",
        file_type: str = "txt",
        output_id: str = "output_text",
    ) -> dict[str, Any]:
        """Write the text as UTF-8."""
        folder = self.services.folders.output
        folder.mkdir(parents=True, exist_ok=True)
        place = place_for(filename_prefix, folder)
        name, path = place.next(0, file_type)
        path.write_text(as_text(text), encoding="utf-8")
        facts = {"filename": name, "subfolder": place.subfolder, "type": "output", "output_id": output_id}
        return {"ui": {"text_file": [facts]}}


NODES = (ComfyDeployOutputImage, ComfyDeployOutputText)
