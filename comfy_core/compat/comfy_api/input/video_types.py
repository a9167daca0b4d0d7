"""What a video is, by an older name."""

from comfy_core.v3.media import VideoInput
