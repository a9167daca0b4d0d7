"""Another home of the video classes."""

from comfy_core.v3.video import VideoFromComponents, VideoFromFile
