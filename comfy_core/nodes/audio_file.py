"""Nodes that load sound files and save sound to files. They know no codecs: `comfy_core.sound` does."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import secrets
from typing import Any, ClassVar

from comfy_core import sound
from comfy_core.errors import ExecutorError, InputRefused
from comfy_core.nodes.saving import place_for
from comfy_core.registry import BuiltIn
from comfy_core.sound import Audio

MP3_QUALITIES: dict[str, int | None] = {"V0": None, "128k": 128_000, "320k": 320_000}
OPUS_QUALITIES = {"64k": 64_000, "96k": 96_000, "128k": 128_000, "192k": 192_000, "320k": 320_000}
HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


def sounds_like_media(name: str) -> bool:
    """Whether a file name ends like that of a sound or a video, which may have sound."""
    return (mimetypes.guess_type(name)[0] or "").startswith(("audio/", "video/"))


class LoadAudio(BuiltIn):
    """The sound of a file in the input folder."""

    LISTS_FILES = True
    DISPLAY_NAME = "Load Audio"
    CATEGORY = "audio"
    PYTHON_MODULE = "comfy_extras.nodes_audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        names = [name for name in cls.services.folders.input_names() if sounds_like_media(name)]
        return {"required": {"audio": (names, {"audio_upload": True})}}

    def load(self, audio: str) -> tuple[Audio]:
        """The file's first sound track."""
        return (sound.read_sound(self.services.folders.find_annotated(audio), audio),)

    @classmethod
    def IS_CHANGED(cls, audio: str) -> str:  # noqa: N802
        """The content decides, not the name."""
        with cls.services.folders.find_annotated(audio).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, audio: str | None) -> bool | str:  # noqa: N802
        """The file must exist, inside its folder."""
        try:
            found = audio is None or cls.services.folders.find_annotated(audio).is_file()
        except (ExecutorError, OSError):
            found = False
        return True if found else f"Invalid audio file: {audio}"


class RecordAudio(BuiltIn):
    """Sound that the user interface recorded and uploaded."""

    DISPLAY_NAME = "Record Audio"
    CATEGORY = "audio"
    PYTHON_MODULE = "comfy_extras.nodes_audio"
    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"audio": ("AUDIO_RECORD", {})}}

    def load(self, audio: str) -> tuple[Audio]:
        """The file's first sound track."""
        if not isinstance(audio, str):
            raise InputRefused("the recording is given by the name of its file")
        return (sound.read_sound(self.services.folders.find_annotated(audio), audio),)


class SaveAudio(BuiltIn):
    """FLAC files, with the workflow in their tags."""

    DISPLAY_NAME = "Save Audio (FLAC)"
    CATEGORY = "audio"
    PYTHON_MODULE = "comfy_extras.nodes_audio"
    RETURN_TYPES = ()
    FUNCTION = "save_flac"
    OUTPUT_NODE = True
    KIND: ClassVar[str] = "output"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {"audio": ("AUDIO",), "filename_prefix": ("STRING", {"default": "audio/ComfyUI"})},
            "hidden": dict(HIDDEN),
        }

    def save_flac(
        self,
        audio: Audio,
        filename_prefix: str = "ComfyUI",
        format: str = "flac",  # noqa: A002 - the node's own name for it
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """16 bits per sample."""
        return self._save(audio, filename_prefix, format, sound.FLAC, prompt, extra_pnginfo)

    def _save(
        self, audio: Audio, prefix: str, ending: str, wanted: sound.Format, prompt: Any, extra: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Write each waveform of the batch as <prefix>_<counter>_.<ending>."""
        root = self.services.folders.of_kind(self.KIND)
        root.mkdir(parents=True, exist_ok=True)
        place = place_for(prefix, root)
        tags = tags_of(prompt, extra) if self.services.metadata else {}
        saved = []
        for index, waveform in enumerate(audio["waveform"]):
            made = sound.write_sound(waveform, int(audio["sample_rate"]), wanted, tags)
            name, path = place.next(index, ending)
            path.write_bytes(made)
            saved.append({"filename": name, "subfolder": place.subfolder, "type": self.KIND})
        return {"ui": {"audio": saved}}


def tags_of(prompt: Any, extra: dict[str, Any] | None) -> dict[str, str]:
    """What a media file says of the workflow that made it."""
    tags = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return tags | {key: json.dumps(value) for key, value in (extra or {}).items()}


class SaveAudioMP3(SaveAudio):
    """MP3 files."""

    DISPLAY_NAME = "Save Audio (MP3)"
    FUNCTION = "save_mp3"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        declared = super().INPUT_TYPES()
        declared["required"]["quality"] = (list(MP3_QUALITIES), {"default": "V0"})
        return declared

    def save_mp3(
        self,
        audio: Audio,
        filename_prefix: str = "ComfyUI",
        format: str = "mp3",  # noqa: A002
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
        quality: str = "128k",
    ) -> dict[str, Any]:
        """V0 is the best variable rate, the others are bits per second."""
        if quality not in MP3_QUALITIES:
            raise InputRefused(f"MP3 has no quality {quality[:20]!r} here")
        wanted = sound.mp3(MP3_QUALITIES[quality])
        return self._save(audio, filename_prefix, format, wanted, prompt, extra_pnginfo)


class SaveAudioOpus(SaveAudio):
    """Opus files."""

    DISPLAY_NAME = "Save Audio (Opus)"
    FUNCTION = "save_opus"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        declared = super().INPUT_TYPES()
        declared["required"]["quality"] = (list(OPUS_QUALITIES), {"default": "128k"})
        return declared

    def save_opus(
        self,
        audio: Audio,
        filename_prefix: str = "ComfyUI",
        format: str = "opus",  # noqa: A002
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
        quality: str = "128k",
    ) -> dict[str, Any]:
        """Bits per second; sound of a rate that Opus does not know is resampled to the next higher one."""
        if quality not in OPUS_QUALITIES:
            raise InputRefused(f"Opus has no quality {quality[:20]!r} here")
        wanted = sound.opus(OPUS_QUALITIES[quality])
        return self._save(audio, filename_prefix, format, wanted, prompt, extra_pnginfo)


class PreviewAudio(SaveAudio):
    """FLAC files in the temp folder."""

    DISPLAY_NAME = "Preview Audio"
    KIND = "temp"

    def __init__(self) -> None:
        self._prefix = "ComfyUI_temp_" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"audio": ("AUDIO",)}, "hidden": dict(HIDDEN)}

    def save_flac(
        self,
        audio: Audio,
        filename_prefix: str = "",
        format: str = "flac",  # noqa: A002
        prompt: Any = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Under this node's own prefix."""
        return super().save_flac(audio, filename_prefix + self._prefix, format, prompt, extra_pnginfo)


NODES = (LoadAudio, SaveAudio, SaveAudioMP3, SaveAudioOpus, PreviewAudio, RecordAudio)
