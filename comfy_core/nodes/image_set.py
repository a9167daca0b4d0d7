"""The node that loads a folder of images as one batch. It knows nothing of captions or training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.folders import inside
from comfy_core.memory import require
from comfy_core.nodes.image import is_picture
from comfy_core.nodes.pixels import BYTES_PER_VALUE, reading, to_tensor
from comfy_core.registry import BuiltIn

RESIZE = ["None", "Stretch", "Crop", "Pad"]
MOST_FOLDERS = 10_000


class LoadImageSetFromFolderNode(BuiltIn):
    """All images of a folder inside the input folder."""

    DISPLAY_NAME = "Load Image Dataset from Folder"
    DESCRIPTION = "Loads all images of a folder as one batch."
    CATEGORY = "loaders"
    PYTHON_MODULE = "comfy_extras.nodes_train"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    FUNCTION = "load_images"
    EXPERIMENTAL = True
    LISTS_FILES = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {"folder": (sorted(_below(cls.services.folders.input)), {})},
            "optional": {"resize_method": (RESIZE, {"default": "None"})},
        }

    @classmethod
    def IS_CHANGED(cls, folder: str, resize_method: str = "None") -> str:  # noqa: N802
        """Names, times and sizes of the files."""
        facts = [(path.name, path.stat()) for path in _pictures(inside(cls.services.folders.input, folder))]
        return "/".join(f"{name}.{fact.st_mtime_ns}.{fact.st_size}" for name, fact in facts)

    def load_images(self, folder: str, resize_method: str = "None") -> tuple[torch.Tensor]:
        """In the order of their names; the first one's size is everyone's."""
        frames: list[torch.Tensor] = []
        for path in _pictures(inside(self.services.folders.input, folder)):
            progress.stop_if_asked()
            with reading(path, path.name) as opened:
                picture = opened.convert("RGB")
            if frames:
                picture = _fitted(picture, (frames[0].shape[2], frames[0].shape[1]), resize_method)
            frames.append(to_tensor(picture))
            require(frames[0].numel() * BYTES_PER_VALUE * (len(frames) + 1), "the batch of images")
        if not frames:
            raise InputRefused(f"there is no image in the folder {folder[:200]!r}")
        return (torch.cat(frames),)


def _fitted(picture: Image.Image, size: tuple[int, int], method: str) -> Image.Image:
    """Pad stretches, as it does in ComfyUI; Crop keeps the upper left corner."""
    if picture.size == size:
        return picture
    if method == "Crop":
        return picture.crop((0, 0, *size))
    if method in ("Stretch", "Pad"):
        return picture.resize(size, Image.Resampling.LANCZOS)
    raise InputRefused(f"images of {picture.size} and {size} pixels need a resize method to share a batch")


def _pictures(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InputRefused(f"there is no folder {folder.name[:200]!r}")
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_picture(path.name):
            yield path


def _below(root: Path) -> Iterator[str]:
    """Every folder below, relative; links are not followed, and at some point it is enough."""
    for count, (folder, _, _) in enumerate(os.walk(root)):
        if count > MOST_FOLDERS:
            return
        if count:
            yield Path(folder).relative_to(root).as_posix()


NODES = (LoadImageSetFromFolderNode,)
