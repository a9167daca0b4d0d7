"""The video classes, by an older name."""

from comfy_core.v3.video import VideoFromComponents, VideoFromFile
