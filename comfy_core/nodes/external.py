"""The inputs of a deployed workflow (ComfyUIDeployExternal...): values laid in by the control plane before the run.

They fetch nothing: what runs beside the executor fetches URLs and puts files into the input folder.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.pixels import read_image
from comfy_core.nodes.resize import resize
from comfy_core.registry import BuiltIn

URLS = ("http://", "https://")
LARGEST_SEED = 4294967295


class ExternalInput(BuiltIn):
    """What all of them share. Not a node itself."""

    CATEGORY = "deploy"
    PYTHON_MODULE = "custom_nodes.comfyui-deploy"
    FUNCTION = "run"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("*",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("value",)
    INPUT_ID: ClassVar[str] = ""
    REQUIRED: ClassVar[dict[str, Any]] = {}
    OPTIONAL: ClassVar[dict[str, Any]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        labels = {"display_name": ("STRING", {"default": ""}), "description": ("STRING", {"multiline": True})}
        return {
            "required": {"input_id": ("STRING", {"default": cls.INPUT_ID}), **cls.REQUIRED},
            "optional": {**cls.OPTIONAL, **labels},
        }


def _no_urls(value: str, what: str) -> None:
    if value.startswith(URLS):
        raise InputRefused(f"{what} is a URL: the executor fetches nothing, the agent does and passes a file name")


class ComfyUIDeployExternalText(ExternalInput):
    """Text."""

    DISPLAY_NAME = "External Text"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("text",)
    INPUT_ID = "input_text"
    OPTIONAL: ClassVar[dict[str, Any]] = {"default_value": ("STRING", {"multiline": True, "default": ""})}

    def run(self, input_id: str, default_value: str = "", **_: Any) -> tuple[str]:
        """The value laid in as default_value."""
        return (default_value,)


class ComfyUIDeployExternalTextAny(ComfyUIDeployExternalText):
    """Text that may feed any input."""

    DISPLAY_NAME = "External Text Any"
    RETURN_TYPES = ("*",)


class ExternalFile(ExternalInput):
    """Reading image files for those that take them. Not a node itself."""

    def read(self, source: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(IMAGE, MASK) of a data: URL or a file of the input folder; None when there is no such file."""
        _no_urls(source, "an external image")
        if source.startswith("data:"):
            return read_image(_data_url(source), "the data URL")
        path = _existing(type(self), source)
        return read_image(path, source) if path else None


class ComfyUIDeployExternalImage(ExternalFile):
    """An image: a file of the input folder or a data: URL, else the default."""

    DISPLAY_NAME = "External Image"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    INPUT_ID = "input_image"
    OPTIONAL: ClassVar[dict[str, Any]] = {
        "default_value": ("IMAGE",),
        "default_value_url": ("STRING", {"image_preview": True, "default": ""}),
    }

    @classmethod
    def IS_CHANGED(cls, input_id: str, default_value_url: str = "") -> str:  # noqa: N802
        """A file of the same name may have other content."""
        marks = []
        for name in (input_id, default_value_url):
            path = None if not name or name.startswith(("data:", *URLS)) else _existing(cls, name)
            marks.append(f"{path.stat().st_mtime_ns}.{path.stat().st_size}" if path else "")
        return "/".join(marks)

    def run(
        self, input_id: str, default_value: torch.Tensor | None = None, default_value_url: str = "", **_: Any
    ) -> tuple[torch.Tensor]:
        """input_id, else default_value_url, else default_value."""
        for source in (input_id, default_value_url):
            found = self.read(source)
            if found is not None:
                return (self._finish(*found),)
        if default_value is None:
            raise InputRefused(f"input {input_id[:100]!r} names no file of the input folder and has no default")
        return (default_value,)

    def _finish(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image


class ComfyUIDeployExternalImageAlpha(ComfyUIDeployExternalImage):
    """An image that keeps its alpha."""

    DISPLAY_NAME = "External Image Alpha"
    OPTIONAL: ClassVar[dict[str, Any]] = {"default_value": ("IMAGE",)}

    def _finish(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if mask.shape[1:] != image.shape[1:3]:
            mask = torch.zeros(image.shape[:3])
        return torch.cat((image, 1.0 - mask[..., None]), dim=-1)


class ComfyUIDeployExternalImageBatch(ExternalFile):
    """Several images, as a JSON list of file names or data: URLs; all take the size of the first."""

    DISPLAY_NAME = "External Image Batch"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    INPUT_ID = "input_images"
    REQUIRED: ClassVar[dict[str, Any]] = {"images": ("STRING", {"multiline": True, "default": "[]"})}
    OPTIONAL: ClassVar[dict[str, Any]] = {"default_value": ("IMAGE",)}

    @classmethod
    def IS_CHANGED(cls, input_id: str, images: str) -> str:  # noqa: N802
        """A file of the same name may have other content."""
        paths = [_existing(cls, name) for name in _names(images) if not name.startswith("data:")]
        return "/".join(f"{path.stat().st_mtime_ns}.{path.stat().st_size}" for path in paths if path)

    def run(
        self, input_id: str, images: str = "[]", default_value: torch.Tensor | None = None, **_: Any
    ) -> tuple[torch.Tensor]:
        """The images in their order, else default_value."""
        frames: list[torch.Tensor] = []
        for name in _names(images):
            found = self.read(name)
            if found is None:
                raise InputRefused(f"there is no file {name[:200]!r} in the input folder")
            image = found[0]
            if frames and image.shape[1:3] != frames[0].shape[1:3]:
                image = resize(image, frames[0].shape[2], frames[0].shape[1], "bilinear", crop=True)
            frames.append(image)
        if frames:
            require(sum(frame.nbytes for frame in frames), "the batch of images")
            return (torch.cat(frames),)
        if default_value is None:
            raise InputRefused("the list of images is empty and there is no default")
        return (default_value,)


def _existing(cls: type[BuiltIn], name: str) -> Any:
    if not name:
        return None
    path = cls.services.folders.find_annotated(name)
    return path if path.is_file() else None


def _names(images: str) -> list[str]:
    try:
        names = json.loads(images or "[]")
    except (ValueError, RecursionError) as error:
        raise InputRefused("images is not a JSON list of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputRefused("images is not a JSON list of names")
    return names


def _data_url(source: str) -> bytes:
    head, _, body = source.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise InputRefused("a data URL must be an image in base64")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputRefused("the data URL is not valid base64") from error


class ExternalNumber(ExternalInput):
    """A number given as input_id, else the default. Not a node itself."""

    def run(
        self,
        input_id: str,
        default_value: float = 0,
        min_value: float | None = None,
        max_value: float | None = None,
        **_: Any,
    ) -> tuple[float]:
        """input_id where it is a number within the bounds, zero included; else default_value."""
        number = self._number(input_id)
        low = number is not None and min_value is not None and number < min_value
        high = number is not None and max_value is not None and number > max_value
        return (default_value if number is None or low or high else number,)

    @classmethod
    def _number(cls, text: str) -> float | None:
        try:
            return _whole(text.strip()) if cls.RETURN_TYPES == ("INT",) else float(text)
        except (ValueError, OverflowError):
            return None


def _whole(text: str) -> int:
    return round(float(text)) if not text.lstrip("+-").isdecimal() else int(text)


class ComfyUIDeployExternalNumber(ExternalNumber):
    """A number."""

    DISPLAY_NAME = "External Number"
    RETURN_TYPES = ("FLOAT",)
    INPUT_ID = "input_number"
    OPTIONAL: ClassVar[dict[str, Any]] = {"default_value": ("FLOAT", {"default": 0, "step": 0.01})}


class ComfyUIDeployExternalNumberInt(ExternalNumber):
    """A whole number."""

    DISPLAY_NAME = "External Number Int"
    RETURN_TYPES = ("INT",)
    INPUT_ID = "input_number"
    OPTIONAL: ClassVar[dict[str, Any]] = {"default_value": ("INT", {"default": 0})}


class ComfyUIDeployExternalNumberSlider(ExternalNumber):
    """A number within bounds."""

    DISPLAY_NAME = "External Number Slider"
    RETURN_TYPES = ("FLOAT",)
    INPUT_ID = "input_number_slider"
    OPTIONAL: ClassVar[dict[str, Any]] = {
        "default_value": ("FLOAT", {"default": 0.5, "step": 0.01}),
        "min_value": ("FLOAT", {"default": 0, "step": 0.01}),
        "max_value": ("FLOAT", {"default": 1, "step": 0.01}),
    }


class ComfyUIDeployExternalNumberSliderInt(ExternalNumber):
    """A whole number within bounds."""

    DISPLAY_NAME = "External Number Slider Int"
    RETURN_TYPES = ("INT",)
    INPUT_ID = "input_number_slider"
    OPTIONAL: ClassVar[dict[str, Any]] = {
        "default_value": ("INT", {"default": 1}),
        "min_value": ("INT", {"default": 0}),
        "max_value": ("INT", {"default": 10}),
    }


class ComfyUIDeployExternalBoolean(ExternalInput):
    """True or false."""

    DISPLAY_NAME = "External Boolean"
    RETURN_TYPES = ("BOOLEAN",)
    RETURN_NAMES = ("bool_value",)
    INPUT_ID = "input_bool"
    REQUIRED: ClassVar[dict[str, Any]] = {"default_value": ("BOOLEAN", {"default": False})}

    def run(self, input_id: str, default_value: bool = False, **_: Any) -> tuple[bool]:
        """The value laid in as default_value."""
        return (default_value,)


class ComfyUIDeployExternalEnum(ExternalInput):
    """One of a list of texts."""

    DISPLAY_NAME = "External Enum"
    INPUT_ID = "input_enum"
    REQUIRED: ClassVar[dict[str, Any]] = {
        "default_value": ("STRING", {"default": ""}),
        "options": ("STRING", {"multiline": True, "default": "[]"}),
    }

    def run(self, input_id: str, default_value: str = "", options: str = "[]", **_: Any) -> tuple[str]:
        """The value laid in as default_value."""
        return (default_value,)


class ComfyUIDeployExternalSeed(ExternalInput):
    """A seed: fixed when it lies within the bounds, else drawn anew for each run."""

    DISPLAY_NAME = "External Seed"
    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("seed",)
    INPUT_ID = "input_seed"
    REQUIRED: ClassVar[dict[str, Any]] = {
        "default_value": ("INT", {"default": -1, "min": -1, "max": LARGEST_SEED}),
        "min_value": ("INT", {"default": 1, "min": 0, "max": LARGEST_SEED}),
        "max_value": ("INT", {"default": LARGEST_SEED, "min": 0, "max": LARGEST_SEED}),
    }

    @classmethod
    def IS_CHANGED(  # noqa: N802
        cls, default_value: int | None, min_value: int | None, max_value: int | None
    ) -> float:
        """A drawn seed is never the same."""
        if default_value is None or min_value is None or max_value is None:
            return float("nan")
        return 0.0 if min_value <= default_value <= max_value else float("nan")

    def run(
        self, input_id: str, default_value: int = -1, min_value: int = 1, max_value: int = LARGEST_SEED, **_: Any
    ) -> tuple[int]:
        """default_value within the bounds, else a random one within them."""
        if min_value <= default_value <= max_value:
            return (default_value,)
        if min_value > max_value:
            raise InputRefused(f"the smallest seed {min_value} is above the largest {max_value}")
        return (min_value + secrets.randbelow(max_value - min_value + 1),)


class ComfyUIDeployExternalLora(ExternalInput):
    """The file name of a LoRA that is on this machine."""

    DISPLAY_NAME = "External Lora"
    INPUT_ID = "input_lora"
    OPTIONAL: ClassVar[dict[str, Any]] = {
        "default_lora_name": ("STRING", {"default": ""}),
        "lora_save_name": ("STRING", {"default": ""}),
        "lora_url": ("STRING", {"default": ""}),
        "bearer_token": ("STRING", {"default": ""}),
    }

    def run(
        self, input_id: str, default_lora_name: str = "", lora_save_name: str = "", lora_url: str = "", **_: Any
    ) -> tuple[str]:
        """lora_url where it is a name; the saved name where that is present; else the default."""
        held = self.services.folders.model_names("loras")
        if lora_save_name in held:
            return (lora_save_name,)
        _no_urls(lora_url, "lora_url")
        for name in (lora_url, input_id):
            if name in held:
                return (name,)
        return (lora_url or default_lora_name,)


class ComfyUIDeployExternalCheckpoint(ExternalInput):
    """The file name of a checkpoint that is on this machine."""

    LISTS_FILES = True
    DISPLAY_NAME = "External Checkpoint"
    INPUT_ID = "input_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        declared = super().INPUT_TYPES()
        names = cls.services.folders.model_names("checkpoints")
        declared["optional"] = {"default_value": (names,), **declared["optional"]}
        return declared

    def run(self, input_id: str, default_value: str = "", **_: Any) -> tuple[str]:
        """input_id where it is a checkpoint here, else default_value."""
        _no_urls(input_id, "an external checkpoint")
        held = self.services.folders.model_names("checkpoints")
        return (input_id if input_id in held else default_value,)


NODES = (
    ComfyUIDeployExternalText,
    ComfyUIDeployExternalTextAny,
    ComfyUIDeployExternalImage,
    ComfyUIDeployExternalImageAlpha,
    ComfyUIDeployExternalImageBatch,
    ComfyUIDeployExternalNumber,
    ComfyUIDeployExternalNumberInt,
    ComfyUIDeployExternalNumberSlider,
    ComfyUIDeployExternalNumberSliderInt,
    ComfyUIDeployExternalBoolean,
    ComfyUIDeployExternalEnum,
    ComfyUIDeployExternalSeed,
    ComfyUIDeployExternalLora,
    ComfyUIDeployExternalCheckpoint,
)
