"""Nodes that load, make, change and save images. They know nothing of scaling models."""

from __future__ import annotations

import hashlib
import math
import mimetypes
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from comfy_core.errors import ExecutorError
from comfy_core.light import always
from comfy_core.memory import require
from comfy_core.nodes.pixels import (
    BYTES_PER_VALUE,
    as_masks,
    png_metadata,
    read_channel,
    read_image,
    to_pictures,
    with_channels,
    write_png,
)
from comfy_core.nodes.resize import resize
from comfy_core.nodes.saving import place_for
from comfy_core.registry import BuiltIn

MAX_SIDE = 16384
COMPRESSION = 4
QUICK_COMPRESSION = 1
SMALL_PIXELS = 128 * 128
"""Of all frames: they are made, inverted and stored in less than a millisecond."""


class LoadImage(BuiltIn):
    """An image file of the input folder."""

    LISTS_FILES = True
    DISPLAY_NAME = "Load Image"
    CATEGORY = "image"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"image": (input_pictures(cls), {"image_upload": True})}}

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture right side up, and 1 - alpha as mask."""
        return read_image(self.services.folders.find_annotated(image), image)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:  # noqa: N802
        """The content decides, not the name."""
        return content_of(cls, image)

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None) -> bool | str:  # noqa: N802
        """The file must exist, inside its folder."""
        return is_there(cls, image)


def input_pictures(cls: type[BuiltIn]) -> list[str]:
    """Names of the input folder's images."""
    return [name for name in cls.services.folders.input_names() if is_picture(name)]


def content_of(cls: type[BuiltIn], image: str) -> str:
    """The hash of a file, so that other content under the same name is loaded anew."""
    with cls.services.folders.find_annotated(image).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_there(cls: type[BuiltIn], image: str | None) -> bool | str:
    """Whether a file is where its name says; else what to tell the client. A name that is linked is not known yet."""
    try:
        found = image is None or cls.services.folders.find_annotated(image).is_file()
    except (ExecutorError, OSError):
        found = False
    return True if found else f"Invalid image file: {image}"


class LoadImageMask(BuiltIn):
    """One channel of an image file, as a mask."""

    LISTS_FILES = True
    DISPLAY_NAME = "Load Image (as Mask)"
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        channels = ["alpha", "red", "green", "blue"]
        return {"required": {"image": (input_pictures(cls), {"image_upload": True}), "channel": (channels,)}}

    def load_image(self, image: str, channel: str) -> tuple[torch.Tensor]:
        """Alpha is turned round: what is transparent is masked. A picture without alpha is opaque."""
        return (read_channel(self.services.folders.find_annotated(image), image, channel),)

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str) -> str:  # noqa: N802
        """The content decides, not the name."""
        return content_of(cls, image)

    @classmethod
    def VALIDATE_INPUTS(cls, image: str | None) -> bool | str:  # noqa: N802
        """The file must exist, inside its folder."""
        return is_there(cls, image)


class LoadImageOutput(LoadImage):
    """An image among the results; the user interface fetches the list of names and marks them `[output]`."""

    DISPLAY_NAME = "Load Image (from Outputs)"
    DESCRIPTION = "Loads an image from the output folder; refreshing lists the newest results."
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        remote = {"route": "/internal/files/output", "refresh_button": True, "control_after_refresh": "first"}
        return {"required": {"image": ("COMBO", {"image_upload": True, "image_folder": "output", "remote": remote})}}


def is_picture(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return (mimetypes.guess_type(name)[0] or "").startswith("image/")


class SaveImage(BuiltIn):
    """PNG files in the output folder, with the workflow inside.

    Node packs inherit from this class and set `type`, `prefix_append` and `compress_level` on themselves, as they do on
    ComfyUI's. They set `output_dir` too; where files go follows from `type`, since each run may have its own folders.
    """

    DISPLAY_NAME = "Save Image"
    CATEGORY = "image"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    LIGHT = always

    type = "output"
    prefix_append = ""
    compress_level = COMPRESSION

    @property
    def output_dir(self) -> str:
        """The folder that files go to now."""
        return str(self.services.folders.of_kind(self.type))

    @output_dir.setter
    def output_dir(self, folder: str) -> None:
        """Setting it changes nothing."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self,
        images: torch.Tensor,
        filename_prefix: str = "ComfyUI",
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write each frame as <prefix>_<counter>_.png."""
        pictures = to_pictures(images)
        root = self.services.folders.of_kind(self.type)
        chunks = png_metadata(prompt, extra_pnginfo) if self.services.metadata else None
        saved = []
        with place_for(filename_prefix + self.prefix_append, root, images.shape[2], images.shape[1]) as place:
            for index, picture in enumerate(pictures):
                name, path = place.next(index)
                write_png(picture, path, chunks, self.compress_level)
                saved.append({"filename": name, "subfolder": place.subfolder, "type": self.type})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    """PNG files in the temp folder, under a prefix of the node's own."""

    DISPLAY_NAME = "Preview Image"

    def __init__(self) -> None:
        self.type = "temp"
        self.prefix_append = "_temp_" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
        self.compress_level = QUICK_COMPRESSION

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }


class MaskPreview(PreviewImage):
    """A mask as grey PNG files in the temp folder."""

    DISPLAY_NAME = "MaskPreview"
    DESCRIPTION = "Shows a mask."
    CATEGORY = "mask"
    PYTHON_MODULE = "comfy_extras.nodes_mask"
    FUNCTION = "execute"

    def __init__(self) -> None:
        super().__init__()
        self.compress_level = COMPRESSION

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {"mask": ("MASK",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def execute(
        self,
        mask: torch.Tensor,
        filename_prefix: str = "ComfyUI",
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """White where masked."""
        grey = as_masks(mask)[..., None].expand(-1, -1, -1, 3)
        return self.save_images(grey, filename_prefix, prompt, extra_pnginfo)


def _is_small(inputs: Mapping[str, Any]) -> bool:
    sizes = [inputs.get(name, 1) for name in ("width", "height", "batch_size")]
    return all(isinstance(size, int) for size in sizes) and math.prod(sizes) <= SMALL_PIXELS


class EmptyImage(BuiltIn):
    """An image of one colour."""

    LIGHT = _is_small
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        side = {"default": 512, "min": 1, "max": MAX_SIDE, "step": 1}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", dict(side)),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[torch.Tensor]:
        """Fill with 0xRRGGBB."""
        require(width * height * batch_size * 3 * BYTES_PER_VALUE, "EmptyImage")
        channels = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
        return (torch.tensor(channels).expand(batch_size, height, width, 3).contiguous(),)


class ImageInvert(BuiltIn):
    """The negative."""

    DISPLAY_NAME = "Invert Image"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"
    LIGHT = always

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        """One minus each value."""
        return (1.0 - image,)


class ImageBatch(BuiltIn):
    """Two images after one another; the second takes the size of the first."""

    DISPLAY_NAME = "Batch Images"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "batch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"image1": ("IMAGE",), "image2": ("IMAGE",)}}

    def batch(self, image1: torch.Tensor, image2: torch.Tensor) -> tuple[torch.Tensor]:
        """Scaled bilinear, cut at the centre; an image without alpha gets an opaque one beside one that has it."""
        channels = max(image1.shape[3], image2.shape[3])
        first, second = (with_channels(image, channels) for image in (image1, image2))
        if first.shape[1:3] != second.shape[1:3]:
            second = resize(second, first.shape[2], first.shape[1], "bilinear", crop=True)
        return (torch.cat((first, second)),)


NODES = (
    LoadImage,
    LoadImageMask,
    LoadImageOutput,
    SaveImage,
    PreviewImage,
    MaskPreview,
    EmptyImage,
    ImageInvert,
    ImageBatch,
)
