"""`ui` of the V3 protocol: what a node shows, and the helpers that save images and sound for it.

A helper that is given the node class takes the workflow to write into the files from its hidden values.
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfy_core import sound
from comfy_core.errors import InputRefused
from comfy_core.folders import Folders
from comfy_core.nodes.pixels import png_metadata, to_pictures, write_png
from comfy_core.nodes.saving import Place, place_for
from comfy_core.surface import attached
from comfy_core.v3.widgets import FolderType

NodeClass = Any
"""A V3 node class, or None: then no workflow is written."""
COMPRESSION, QUICK_COMPRESSION = 4, 1
MODEL_TAG, MAKE_TAG = 0x0110, 0x010F
"""EXIF tags that carry the prompt and, from the second downwards, what else comes with it."""
BIT_RATES = {"V0": None, "64k": 64_000, "96k": 96_000, "128k": 128_000, "192k": 192_000, "320k": 320_000}


class SavedResult(dict[str, str]):
    """Where one file is, as clients are told it."""

    def __init__(self, filename: str, subfolder: str, type: FolderType | str) -> None:  # noqa: A002 - the node protocol's
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)

    @property
    def filename(self) -> str:
        """The file's name."""
        return self["filename"]

    @property
    def subfolder(self) -> str:
        """The folder within the one of its type."""
        return self["subfolder"]

    @property
    def type(self) -> FolderType:
        """Which folder."""
        return FolderType(self["type"])


class Shown(ABC):
    """Something a node shows: `NodeOutput(ui=...)`."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""


class SavedImages(Shown):
    """Image files."""

    def __init__(self, results: Sequence[SavedResult | dict[str, str]], is_animated: bool = False) -> None:
        self.results = list(results)
        self.is_animated = is_animated

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        animated = {"animated": (True,)} if self.is_animated else {}
        return {"images": self.results, **animated}


class SavedAudios(Shown):
    """Sound files."""

    def __init__(self, results: Sequence[SavedResult | dict[str, str]]) -> None:
        self.results = list(results)

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return {"audio": self.results}


def _folders(cls: NodeClass) -> Folders:
    """Those of a built-in node's services, or of the executor of this process."""
    services = getattr(cls, "services", None) or attached().services
    return services.folders


def _workflow(cls: NodeClass) -> tuple[Any, dict[str, Any]]:
    """(prompt, what else) to be written into files; nothing where metadata is off or the class is not known."""
    if cls is None or getattr(cls, "hidden", None) is None:
        return None, {}
    services = getattr(cls, "services", None) or attached().services
    if not services.metadata:
        return None, {}
    return cls.hidden.prompt, dict(cls.hidden.extra_pnginfo or {})


def _told(cls: NodeClass) -> dict[str, str]:
    prompt, extra = _workflow(cls)
    tags = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return tags | {key: json.dumps(value) for key, value in extra.items()}


def _place(prefix: str, kind: FolderType | str, cls: NodeClass, images: Any = None) -> Place:
    root = _folders(cls).of_kind(FolderType(kind).value)
    root.mkdir(parents=True, exist_ok=True)
    return place_for(prefix, root) if images is None else place_for(prefix, root, images.shape[2], images.shape[1])


def _temporary() -> str:
    return "ComfyUI_temp_" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))


def _milliseconds(fps: float) -> int:
    return int(1000.0 / fps)


class ImageSaveHelper:
    """Saves IMAGE batches. Files are named <prefix>_<counter>_ with the tokens that SaveImage knows."""

    @staticmethod
    def save_images(
        images: torch.Tensor,
        filename_prefix: str,
        folder_type: FolderType,
        cls: NodeClass,
        compress_level: int = COMPRESSION,
    ) -> list[SavedResult]:
        """One PNG for each frame."""
        pictures = to_pictures(images)
        place = _place(filename_prefix, folder_type, cls, images)
        prompt, extra = _workflow(cls)
        chunks = png_metadata(prompt, extra)
        saved = []
        for index, picture in enumerate(pictures):
            name, path = place.next(index)
            write_png(picture, path, chunks, compress_level)
            saved.append(SavedResult(name, place.subfolder, folder_type))
        return saved

    @staticmethod
    def get_save_images_ui(
        images: torch.Tensor, filename_prefix: str, cls: NodeClass, compress_level: int = COMPRESSION
    ) -> SavedImages:
        """The same into the output folder, ready to be shown."""
        saved = ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level)
        return SavedImages(saved)

    @staticmethod
    def save_animated_png(
        images: torch.Tensor,
        filename_prefix: str,
        folder_type: FolderType,
        cls: NodeClass,
        fps: float,
        compress_level: int,
    ) -> SavedResult:
        """One APNG of all frames; the workflow is in private chunks behind the pictures."""
        chunks = PngInfo()
        for key, text in _told(cls).items():
            chunks.add(b"comf", key.encode("latin-1", "replace") + b"\0" + text.encode("latin-1", "replace"), True)
        options = {"pnginfo": chunks, "compress_level": compress_level}
        return _save_frames(images, _place(filename_prefix, folder_type, cls, images), folder_type, "png", fps, options)

    @staticmethod
    def get_save_animated_png_ui(
        images: torch.Tensor, filename_prefix: str, cls: NodeClass, fps: float, compress_level: int
    ) -> SavedImages:
        """The same into the output folder, ready to be shown."""
        saved = ImageSaveHelper.save_animated_png(images, filename_prefix, FolderType.output, cls, fps, compress_level)
        return SavedImages([saved], is_animated=len(images) > 1)

    @staticmethod
    def save_animated_webp(
        images: torch.Tensor,
        filename_prefix: str,
        folder_type: FolderType,
        cls: NodeClass,
        fps: float,
        lossless: bool,
        quality: int,
        method: int,
    ) -> SavedResult:
        """One WebP of all frames; the workflow is in its EXIF."""
        exif = Image.Exif()
        for offset, (key, text) in enumerate(_told(cls).items()):
            exif[MODEL_TAG - offset] = f"{key}:{text}"
        options = {"exif": exif, "lossless": lossless, "quality": quality, "method": method}
        place = _place(filename_prefix, folder_type, cls, images)
        return _save_frames(images, place, folder_type, "webp", fps, options)

    @staticmethod
    def get_save_animated_webp_ui(
        images: torch.Tensor,
        filename_prefix: str,
        cls: NodeClass,
        fps: float,
        lossless: bool,
        quality: int,
        method: int,
    ) -> SavedImages:
        """The same into the output folder, ready to be shown."""
        saved = ImageSaveHelper.save_animated_webp(
            images, filename_prefix, FolderType.output, cls, fps, lossless, quality, method
        )
        return SavedImages([saved], is_animated=len(images) > 1)


def _save_frames(
    images: torch.Tensor, place: Place, kind: FolderType | str, ending: str, fps: float, options: dict[str, Any]
) -> SavedResult:
    pictures = list(to_pictures(images))
    if not pictures or fps <= 0:
        raise InputRefused("an animation needs frames and a rate above 0")
    name, path = place.next(0, ending)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=_milliseconds(fps), **options)
    return SavedResult(name, place.subfolder, kind)


class AudioSaveHelper:
    """Saves AUDIO batches, one file for each waveform."""

    @staticmethod
    def save_audio(
        audio: dict[str, Any],
        filename_prefix: str,
        folder_type: FolderType,
        cls: NodeClass,
        format: str = "flac",  # noqa: A002 - the node protocol's name
        quality: str = "128k",
    ) -> list[SavedResult]:
        """format: flac, mp3 or opus. quality: bits per second such as 128k, or V0. Raises InputRefused for others."""
        wanted = _sound_format(format, quality)
        place = _place(filename_prefix, folder_type, cls)
        tags = _told(cls)
        saved = []
        for index, waveform in enumerate(audio["waveform"]):
            made = sound.write_sound(waveform, int(audio["sample_rate"]), wanted, tags)
            name, path = place.next(index, format)
            Path(path).write_bytes(made)
            saved.append(SavedResult(name, place.subfolder, folder_type))
        return saved

    @staticmethod
    def get_save_audio_ui(
        audio: dict[str, Any],
        filename_prefix: str,
        cls: NodeClass,
        format: str = "flac",  # noqa: A002
        quality: str = "128k",
    ) -> SavedAudios:
        """The same into the output folder, ready to be shown."""
        saved = AudioSaveHelper.save_audio(audio, filename_prefix, FolderType.output, cls, format, quality)
        return SavedAudios(saved)


def _sound_format(ending: str, quality: str) -> sound.Format:
    if ending == "flac":
        return sound.FLAC
    if quality in BIT_RATES and ending in ("mp3", "opus"):
        rate = BIT_RATES[quality]
        return sound.mp3(rate) if ending == "mp3" else sound.opus(rate or BIT_RATES["128k"] or 0)
    raise InputRefused(f"sound is not saved as {ending[:20]!r} of quality {quality[:20]!r}")


class PreviewImage(Shown):
    """Frames of an IMAGE, saved to the temp folder."""

    def __init__(self, image: torch.Tensor, animated: bool = False, cls: NodeClass = None, **kwargs: Any) -> None:
        self.values = ImageSaveHelper.save_images(image, _temporary(), FolderType.temp, cls, QUICK_COMPRESSION)
        self.animated = animated

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return {"images": self.values, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    """A MASK as shades of grey."""

    def __init__(self, mask: torch.Tensor, animated: bool = False, cls: NodeClass = None, **kwargs: Any) -> None:
        grey = mask.reshape((-1, 1, mask.shape[-2], mask.shape[-1])).movedim(1, -1).expand(-1, -1, -1, 3)
        super().__init__(grey, animated, cls, **kwargs)


class PreviewAudio(Shown):
    """Sound, saved to the temp folder."""

    def __init__(self, audio: dict[str, Any], cls: NodeClass = None, **kwargs: Any) -> None:
        self.values = AudioSaveHelper.save_audio(audio, _temporary(), FolderType.temp, cls)

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return {"audio": self.values}


class PreviewVideo(Shown):
    """Video files that are saved already."""

    def __init__(self, values: Sequence[SavedResult | dict[str, str]], **kwargs: Any) -> None:
        self.values = list(values)

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return {"images": self.values, "animated": (True,)}


class PreviewText(Shown):
    """Text."""

    def __init__(self, value: str, **kwargs: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return {"text": (self.value,)}


class PreviewUI3D(Shown):
    """A model's file and where its camera stands."""

    def __init__(self, model_file: str, camera_info: Any, **kwargs: Any) -> None:
        self.model_file = model_file
        self.camera_info = camera_info

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return {"result": [self.model_file, self.camera_info]}
