"""Nodes that enlarge images with a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from comfy_core import progress
from comfy_core.errors import OutOfMemory
from comfy_core.memory import is_out_of_memory, require
from comfy_core.models.loader import UpscaleModel, load_upscaler
from comfy_core.nodes.pixels import BYTES_PER_VALUE
from comfy_core.nodes.tiles import count, enlarge_tiled
from comfy_core.registry import BuiltIn

TILE = 512
SMALLEST_TILE = 128
OVERLAP = 32


class UpscaleModelLoader(BuiltIn):
    """A network from the upscale_models folder."""

    DISPLAY_NAME = "Load Upscale Model"
    CATEGORY = "loaders"
    PYTHON_MODULE = "comfy_extras.nodes_upscale_model"
    RETURN_TYPES = ("UPSCALE_MODEL",)
    FUNCTION = "load_model"
    MODEL_FILES: ClassVar[Mapping[str, str]] = {"model_name": "upscale_models"}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        names = cls.services.folders.model_names("upscale_models")
        return {"required": {"model_name": ("COMBO", {"multiselect": False, "options": names})}}

    @classmethod
    def IS_CHANGED(cls, model_name: str) -> str:  # noqa: N802
        """A file that is replaced is another model."""
        facts = cls.services.folders.find_model("upscale_models", model_name).stat()
        return f"{facts.st_mtime_ns}.{facts.st_size}"

    def load_model(self, model_name: str) -> tuple[UpscaleModel]:
        """Read at most once per version of the file."""
        path = self.services.folders.find_model("upscale_models", model_name)
        return (self.services.memory.load(path, load_upscaler),)


class ImageUpscaleWithModel(BuiltIn):
    """Enlarges tile by tile; can be interrupted between tiles."""

    DISPLAY_NAME = "Upscale Image (using Model)"
    CATEGORY = "image/upscaling"
    PYTHON_MODULE = "comfy_extras.nodes_upscale_model"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"upscale_model": ("UPSCALE_MODEL", {}), "image": ("IMAGE", {})}}

    def upscale(self, upscale_model: UpscaleModel, image: torch.Tensor) -> tuple[torch.Tensor]:
        """Tiles of 512 overlapping by 32, halved down to 128 when memory runs out; values clamped to 0..1."""
        grown = image[..., 0].numel() * upscale_model.scale**2
        require(grown * 3 * BYTES_PER_VALUE * 2, "the enlarged image")
        tile = TILE
        with self.services.memory.use(upscale_model):
            while True:
                try:
                    return (self._enlarge(upscale_model, image, tile),)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or isinstance(error, OutOfMemory) or tile <= SMALLEST_TILE:
                        raise
                tile //= 2
                self.services.memory.collect()

    def _enlarge(self, model: UpscaleModel, image: torch.Tensor, tile: int) -> torch.Tensor:
        batch, height, width = image.shape[:3]
        tiles = batch * count(height, width, tile, OVERLAP)
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            progress.advance(done, tiles)

        device = self.services.memory.device
        frames = [
            enlarge_tiled(planes, lambda part: model(part.to(device)), model.scale, tile, OVERLAP, tick)
            for planes in image[..., :3].movedim(-1, 1)
        ]
        return torch.stack(frames).movedim(1, -1).clamp_(0.0, 1.0)


NODES = (UpscaleModelLoader, ImageUpscaleWithModel)
