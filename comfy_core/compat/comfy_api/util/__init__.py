"""What the video classes are asked with, by an older name."""

from comfy_core.v3.media import VideoCodec, VideoComponents, VideoContainer

__all__ = ("VideoCodec", "VideoComponents", "VideoContainer")
