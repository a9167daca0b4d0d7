"""Nodes that enlarge images with a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from comfy_core import progress
from comfy_core.errors import InputRefused, OutOfMemory
from comfy_core.memory import is_out_of_memory, require
from comfy_core.models.loader import UpscaleModel, load_upscaler
from comfy_core.nodes.pixels import BYTES_PER_VALUE
from comfy_core.nodes.tiles import count, enlarge_tiled
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

TILE = 512
SMALLEST_TILE = 128
OVERLAP = 32
COLOURS = 3


class UpscaleModelLoader(BuiltIn, io.ComfyNode):
    """A network from the upscale_models folder."""

    LISTS_FILES = True
    PYTHON_MODULE = "comfy_extras.nodes_upscale_model"
    MODEL_FILES: ClassVar[Mapping[str, str]] = {"model_name": "upscale_models"}

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        names = cls.services.folders.model_names("upscale_models")
        return io.Schema(
            node_id="UpscaleModelLoader",
            display_name="Load Upscale Model",
            category="loaders",
            inputs=[io.Combo.Input("model_name", options=names)],
            outputs=[io.UpscaleModel.Output()],
        )

    @classmethod
    def fingerprint_inputs(cls, model_name: str) -> str:
        """A file that is replaced is another model."""
        facts = cls.services.folders.find_model("upscale_models", model_name).stat()
        return f"{facts.st_mtime_ns}.{facts.st_size}"

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        """Read at most once per version of the file."""
        path = cls.services.folders.find_model("upscale_models", model_name)
        return io.NodeOutput(cls.services.memory.load(path, load_upscaler))

    load_model = execute


class ImageUpscaleWithModel(BuiltIn, io.ComfyNode):
    """Enlarges tile by tile; can be interrupted between tiles."""

    PYTHON_MODULE = "comfy_extras.nodes_upscale_model"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        return io.Schema(
            node_id="ImageUpscaleWithModel",
            display_name="Upscale Image (using Model)",
            category="image/upscaling",
            inputs=[io.UpscaleModel.Input("upscale_model"), io.Image.Input("image")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, upscale_model: UpscaleModel, image: torch.Tensor) -> io.NodeOutput:
        """Tiles of 512 overlapping by 32, halved down to 128 when memory runs out; values clamped to 0..1."""
        if image.shape[3] < COLOURS:
            raise InputRefused(f"the image has {image.shape[3]} channels, the network takes {COLOURS}")
        grown = image[..., 0].numel() * upscale_model.scale**2
        require(grown * COLOURS * BYTES_PER_VALUE * 2, "the enlarged image")
        tile = TILE
        with cls.services.memory.use(upscale_model):
            while True:
                try:
                    return io.NodeOutput(cls._enlarge(upscale_model, image, tile))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or isinstance(error, OutOfMemory) or tile <= SMALLEST_TILE:
                        raise
                tile //= 2
                cls.services.memory.collect()

    upscale = execute

    @classmethod
    def _enlarge(cls, model: UpscaleModel, image: torch.Tensor, tile: int) -> torch.Tensor:
        batch, height, width = image.shape[:3]
        tiles = batch * count(height, width, tile, OVERLAP)
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            progress.advance(done, tiles)

        device = cls.services.memory.device
        frames = [
            enlarge_tiled(planes, lambda part: model(part.to(device)), model.scale, tile, OVERLAP, tick)
            for planes in image[..., :COLOURS].movedim(-1, 1)
        ]
        return torch.stack(frames).movedim(1, -1).clamp_(0.0, 1.0)


NODES = (UpscaleModelLoader, ImageUpscaleWithModel)
