"""Nodes that cut, join, mix and make sound. They know no files."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.registry import BuiltIn
from comfy_core.sound import Audio, to_rate

FARTHEST = 2**64 - 1
BYTES = 4


class Sound(BuiltIn):
    """Base of the nodes of this theme. Not a node itself."""

    CATEGORY = "audio"
    PYTHON_MODULE = "comfy_extras.nodes_audio"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("AUDIO",)


def at_one_rate(first: Audio, second: Audio) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Both waveforms at the higher of the two rates, and that rate."""
    rate = max(int(first["sample_rate"]), int(second["sample_rate"]))
    waves = [to_rate(one["waveform"], int(one["sample_rate"]), rate) for one in (first, second)]
    return waves[0], waves[1], rate


class TrimAudioDuration(Sound):
    """A stretch of time."""

    DISPLAY_NAME = "Trim Audio Duration"
    DESCRIPTION = "Keeps a stretch of the sound."
    FUNCTION = "trim"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {
            "required": {
                "audio": ("AUDIO",),
                "start_index": ("FLOAT", {"default": 0.0, "min": -FARTHEST, "max": FARTHEST, "step": 0.01}),
                "duration": ("FLOAT", {"default": 60.0, "min": 0.0, "step": 0.01}),
            }
        }

    def trim(self, audio: Audio, start_index: float, duration: float) -> tuple[Audio]:
        """In seconds; a negative start counts from the end. Raises InputRefused when nothing would be left."""
        waveform, rate = audio["waveform"], audio["sample_rate"]
        length = waveform.shape[-1]
        first = round(start_index * rate)
        start = max(0, min(first + length if start_index < 0 else first, length - 1))
        end = max(0, min(start + round(duration * rate), length))
        if start >= end:
            raise InputRefused("the stretch to keep lies outside the sound, or is empty")
        return ({"waveform": waveform[..., start:end], "sample_rate": rate},)


class SplitAudioChannels(Sound):
    """Left and right apart."""

    DISPLAY_NAME = "Split Audio Channels"
    DESCRIPTION = "Gives the left and the right channel as sounds of their own."
    RETURN_TYPES = ("AUDIO", "AUDIO")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("left", "right")
    FUNCTION = "separate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"audio": ("AUDIO",)}}

    def separate(self, audio: Audio) -> tuple[Audio, Audio]:
        """Each [B, 1, T]. Raises InputRefused for sound that has not two channels."""
        waveform, rate = audio["waveform"], audio["sample_rate"]
        if waveform.shape[1] != 2:
            raise InputRefused(f"only sound of two channels can be split, this has {waveform.shape[1]}")
        left, right = ({"waveform": waveform[..., side : side + 1, :], "sample_rate": rate} for side in (0, 1))
        return left, right


class AudioConcat(Sound):
    """One sound after the other."""

    DISPLAY_NAME = "Audio Concat"
    DESCRIPTION = "Plays one sound after the other."
    FUNCTION = "concat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        direction = (["after", "before"], {"default": "after"})
        return {"required": {"audio1": ("AUDIO",), "audio2": ("AUDIO",), "direction": direction}}

    def concat(self, audio1: Audio, audio2: Audio, direction: str) -> tuple[Audio]:
        """The second after or before the first, in stereo, at the higher rate."""
        first, second, rate = at_one_rate(audio1, audio2)
        parts = [_stereo(first), _stereo(second)]
        if parts[0].shape[:2] != parts[1].shape[:2]:
            raise InputRefused(f"sounds of shapes {list(first.shape)} and {list(second.shape)} cannot be joined")
        require(sum(part.numel() for part in parts) * BYTES, "AudioConcat")
        joined = torch.cat(parts if direction == "after" else parts[::-1], dim=2)
        return ({"waveform": joined, "sample_rate": rate},)


def _stereo(waveform: torch.Tensor) -> torch.Tensor:
    return waveform.repeat(1, 2, 1) if waveform.shape[1] == 1 else waveform


class AudioMerge(Sound):
    """Two sounds at once."""

    DISPLAY_NAME = "Audio Merge"
    DESCRIPTION = "Lays one sound over another."
    FUNCTION = "merge"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        ways: tuple[list[str], dict[str, Any]] = (["add", "mean", "subtract", "multiply"], {})
        return {"required": {"audio1": ("AUDIO",), "audio2": ("AUDIO",), "merge_method": ways}}

    def merge(self, audio1: Audio, audio2: Audio, merge_method: str) -> tuple[Audio]:
        """As long as the first, the second cut or silent at its end; softer as a whole where it would clip."""
        first, second, rate = at_one_rate(audio1, audio2)
        second = torch.nn.functional.pad(second, (0, first.shape[-1] - second.shape[-1]))
        mixed = _mixed(first, second, merge_method)
        peak = mixed.abs().max() if mixed.numel() else torch.zeros(())
        return ({"waveform": mixed / peak if peak > 1.0 else mixed, "sample_rate": rate},)


def _mixed(first: torch.Tensor, second: torch.Tensor, method: str) -> torch.Tensor:
    if method == "multiply":
        return first * second
    if method == "subtract":
        return first - second
    return (first + second) / 2 if method == "mean" else first + second


class AudioAdjustVolume(Sound):
    """Louder or softer."""

    DISPLAY_NAME = "Audio Adjust Volume"
    FUNCTION = "adjust_volume"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"audio": ("AUDIO",), "volume": ("INT", {"default": 1.0, "min": -100, "max": 100})}}

    def adjust_volume(self, audio: Audio, volume: int) -> tuple[Audio]:
        """By decibels: a factor of 10 ** (volume / 20)."""
        if volume == 0:
            return (audio,)
        return ({"waveform": audio["waveform"] * 10 ** (volume / 20), "sample_rate": audio["sample_rate"]},)


class EmptyAudio(Sound):
    """Silence."""

    DISPLAY_NAME = "Empty Audio"
    FUNCTION = "create_empty_audio"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "duration": ("FLOAT", {"default": 60.0, "min": 0.0, "max": FARTHEST, "step": 0.01}),
                "sample_rate": ("INT", {"default": 44100}),
                "channels": ("INT", {"default": 2, "min": 1, "max": 2}),
            }
        }

    def create_empty_audio(self, duration: float, sample_rate: int, channels: int) -> tuple[Audio]:
        """[1, channels, duration * rate]. Raises InputRefused for a rate below 1."""
        if sample_rate < 1:
            raise InputRefused(f"a sound cannot have {sample_rate} samples per second")
        length = round(duration * sample_rate)
        require(channels * length * BYTES, "EmptyAudio")
        return ({"waveform": torch.zeros((1, channels, length)), "sample_rate": sample_rate},)


NODES = (TrimAudioDuration, SplitAudioChannels, AudioConcat, AudioMerge, AudioAdjustVolume, EmptyAudio)
