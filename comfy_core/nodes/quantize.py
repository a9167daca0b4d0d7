"""The node that brings an image down to a few colours, with or without dithering."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.pixels import BYTES_PER_VALUE, to_pictures, to_tensor
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

DITHERS = ["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]


class ImageQuantize(BuiltIn, io.ComfyNode):
    """At most so many colours, chosen from each image by median cut."""

    PYTHON_MODULE = "comfy_extras.nodes_post_processing"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An image, a number of colours, how to dither."""
        return io.Schema(
            node_id="ImageQuantize",
            category="image/postprocessing",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("colors", default=256, min=1, max=256, step=1),
                io.Combo.Input("dither", options=DITHERS),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, colors: int, dither: str) -> io.NodeOutput:
        """Frame by frame, on 8-bit values."""
        if dither not in DITHERS:
            raise InputRefused(f"there is no dither {dither[:50]!r}")
        if image.shape[3] != 3:
            raise InputRefused(f"only images of three channels can be quantized, not of {image.shape[3]}")
        require(image.numel() * BYTES_PER_VALUE * 2, "quantizing")
        frames = []
        for picture in to_pictures(image):
            progress.stop_if_asked()
            frames.append(to_tensor(_quantized(picture, colors, dither).convert("RGB")))
        return io.NodeOutput(torch.cat(frames))


def _quantized(picture: Image.Image, colors: int, dither: str) -> Image.Image:
    palette = picture.quantize(colors=colors, dither=Image.Dither.NONE)
    if dither == "floyd-steinberg":
        return picture.quantize(colors=colors, palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if dither.startswith("bayer-"):
        count = len(palette.getpalette() or ()) // 3
        picture = _ordered(picture, int(dither.removeprefix("bayer-")), 2 * 256 / max(count, 1))
    return picture.quantize(colors=colors, palette=palette, dither=Image.Dither.NONE)


def _ordered(picture: Image.Image, order: int, spread: float) -> Image.Image:
    """Each value moved by up to half the spread, by its place in the threshold matrix."""
    values = np.asarray(picture, dtype=np.float32)
    height, width = values.shape[:2]
    offsets = spread * ((bayer(order) + 0.5) / order**2 - 0.5)
    tiled = np.tile(offsets, (-(-height // order), -(-width // order)))[:height, :width, None]
    return Image.fromarray(np.clip(values + tiled + 0.5, 0, 255).astype(np.uint8))


def bayer(order: int) -> np.ndarray:
    """The threshold matrix of 0 .. order² - 1 (B. E. Bayer, 1973): each step puts four finer ones together."""
    matrix = np.zeros((1, 1))
    while len(matrix) < order:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return matrix


NODES = (ImageQuantize,)
