"""What values of io types are, by an older name."""

from comfy_core.v3.media import AudioInput, ImageInput, LatentInput, MaskInput
