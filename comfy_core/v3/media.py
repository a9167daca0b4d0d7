"""What travels as image, mask, sound, latent and video between nodes, by the names packs know. It reads no files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from io import BytesIO
from typing import Any, NotRequired, TypedDict

import torch

ImageInput = torch.Tensor
"""float32 [B, H, W, C] in 0..1."""
MaskInput = torch.Tensor
"""float32 [B, H, W] or [H, W], 1 where masked."""


class AudioInput(TypedDict):
    """waveform: float32 [B, channels, samples] in -1..1; sample_rate: samples per second."""

    waveform: torch.Tensor
    sample_rate: int


class LatentInput(TypedDict):
    """samples: [B, C, H, W], or with a time before H; the rest travels along where a node set it."""

    samples: torch.Tensor
    noise_mask: NotRequired[torch.Tensor]
    batch_index: NotRequired[list[int]]


class _Named(StrEnum):
    @classmethod
    def as_input(cls) -> list[str]:
        """The values, as choices of an input."""
        return [member.value for member in cls]


class VideoCodec(_Named):
    """How pictures are packed."""

    AUTO = "auto"
    H264 = "h264"


class VideoContainer(_Named):
    """The kind of file."""

    AUTO = "auto"
    MP4 = "mp4"

    @classmethod
    def get_extension(cls, value: str) -> str:
        """The ending of a file of this kind, without dot."""
        return "mp4" if cls(value) in (cls.MP4, cls.AUTO) else ""


@dataclass
class VideoComponents:
    """A video taken apart. images: float32 [frames, H, W, 3]; frame_rate: frames per second."""

    images: torch.Tensor
    frame_rate: Fraction
    audio: AudioInput | None = None
    metadata: dict[str, Any] | None = None


class VideoInput(ABC):
    """A video as nodes pass it on: a file not read yet, or pictures in memory."""

    @abstractmethod
    def get_components(self) -> VideoComponents:
        """All pictures and the sound, in memory."""

    @abstractmethod
    def save_to(
        self,
        path: str | BytesIO,
        format: VideoContainer = VideoContainer.AUTO,  # noqa: A002 - the node protocol's name
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Write a file. metadata: tags of the file, as JSON."""

    def get_stream_source(self) -> str | BytesIO:
        """Something that a reader of videos opens: a path, or the file's bytes."""
        stream = BytesIO()
        self.save_to(stream)
        stream.seek(0)
        return stream

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height)."""
        images = self.get_components().images
        return int(images.shape[2]), int(images.shape[1])

    def get_duration(self) -> float:
        """Seconds."""
        parts = self.get_components()
        return float(parts.images.shape[0] / parts.frame_rate)

    def get_container_format(self) -> str:
        """The names of the kind of file, joined by commas as FFmpeg gives them."""
        return VideoContainer.MP4.value
