"""Another home of what the video classes are asked with."""

from comfy_core.v3.media import VideoCodec, VideoComponents, VideoContainer
