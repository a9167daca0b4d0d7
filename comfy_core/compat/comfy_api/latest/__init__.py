"""The newest version of the V3 API. The versions before it offer the same."""

from __future__ import annotations

from comfy_core.v3 import io, ui
from comfy_core.v3 import io as comfy_io
from comfy_core.v3.api import ComfyAPI, ComfyAPISync
from comfy_core.v3.extension import ComfyExtension
from comfy_core.v3.media import (
    AudioInput,
    ImageInput,
    LatentInput,
    MaskInput,
    VideoCodec,
    VideoComponents,
    VideoContainer,
    VideoInput,
)
from comfy_core.v3.video import VideoFromComponents, VideoFromFile

ComfyAPI_latest = ComfyAPI


class Input:
    """What values of io types are."""

    Image = ImageInput
    Mask = MaskInput
    Latent = LatentInput
    Audio = AudioInput
    Video = VideoInput


class InputImpl:
    """Classes to make such values with."""

    VideoFromFile = VideoFromFile
    VideoFromComponents = VideoFromComponents


class Types:
    """What those classes are asked with."""

    VideoCodec = VideoCodec
    VideoContainer = VideoContainer
    VideoComponents = VideoComponents


__all__ = ("ComfyAPI", "ComfyAPISync", "ComfyExtension", "Input", "InputImpl", "Types", "comfy_io", "io", "ui")
