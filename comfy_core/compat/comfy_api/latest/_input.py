"""Another home of what values of io types are."""

from comfy_core.v3.media import AudioInput, ImageInput, LatentInput, MaskInput, VideoInput
