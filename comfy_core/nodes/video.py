"""Nodes that load, make, take apart and save videos. They know no codecs but WebM's: `comfy_core.v3.video` does."""

from __future__ import annotations

import hashlib
import io as files
import mimetypes
import os
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError

from comfy_core.errors import ExecutorError, InputRefused
from comfy_core.nodes.audio_file import tags_of
from comfy_core.nodes.pixels import to_pictures
from comfy_core.nodes.saving import Place, place_for
from comfy_core.priority import unchanged
from comfy_core.progress import stop_if_asked
from comfy_core.registry import BuiltIn
from comfy_core.sound import Audio
from comfy_core.v3 import io
from comfy_core.v3.media import VideoCodec, VideoComponents, VideoContainer, VideoInput
from comfy_core.v3.video import VideoFromComponents, VideoFromFile

RATE_STEPS = 1000
AV1_PRESET = "6"
QUIET = "1"
"""The AV1 encoder writes to standard error past every logger, and takes its level from this variable: errors only."""
WEBM_CODECS: Mapping[str, tuple[str, str]] = {"vp9": ("libvpx-vp9", "yuv420p"), "av1": ("libsvtav1", "yuv420p10le")}


def rate(fps: float) -> Fraction:
    """Frames per second to the thousandth."""
    return Fraction(round(fps * RATE_STEPS), RATE_STEPS)


class Videos(BuiltIn, io.ComfyNode):
    """Base of the nodes of this theme. Not a node itself."""

    PYTHON_MODULE = "comfy_extras.nodes_video"

    @classmethod
    def _tags(cls) -> dict[str, str]:
        return tags_of(cls.hidden.prompt, cls.hidden.extra_pnginfo) if cls.services.metadata else {}

    @classmethod
    def _place(cls, prefix: str, width: int, height: int) -> Place:
        root = cls.services.folders.of_kind("output")
        root.mkdir(parents=True, exist_ok=True)
        return place_for(prefix, root, width, height)


def _shown(name: str, place: Place) -> io.NodeOutput:
    shown = {"filename": name, "subfolder": place.subfolder, "type": "output"}
    return io.NodeOutput(ui={"images": [shown], "animated": (True,)})


class SaveWEBM(Videos):
    """Frames as a WebM file, with the workflow in its tags."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="SaveWEBM",
            category="image/video",
            is_experimental=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images"),
                io.String.Input("filename_prefix", default="ComfyUI", multiline=False),
                io.Combo.Input("codec", options=list(WEBM_CODECS)),
                io.Float.Input("fps", default=24.0, min=0.01, max=1000.0, step=0.01),
                io.Float.Input(
                    "crf", default=32.0, min=0, max=63.0, step=1, tooltip="Higher: a smaller file of lower quality."
                ),
            ],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, codec: str, fps: float, filename_prefix: str, crf: float) -> io.NodeOutput:
        """One file. Raises InputRefused for frames that the codec does not take."""
        if codec not in WEBM_CODECS:
            raise InputRefused(f"WebM is written with {' or '.join(WEBM_CODECS)}, not {codec[:20]!r}")
        made = webm(images, codec, rate(fps), crf, cls._tags())
        place = cls._place(filename_prefix, images.shape[2], images.shape[1])
        name, path = place.next(0, "webm")
        path.write_bytes(made)
        return _shown(name, place)


def webm(images: torch.Tensor, codec: str, fps: Fraction, crf: float, tags: Mapping[str, str]) -> bytes:
    """A file of all frames, their alpha left out."""
    encoder, pixel_format = WEBM_CODECS[codec]
    pictures = to_pictures(images[..., :3])
    os.putenv("SVT_LOG", QUIET)
    buffer = files.BytesIO()
    try:
        with av.open(buffer, mode="w", format="webm") as container:
            container.metadata.update(tags)
            stream: Any = container.add_stream(encoder, rate=fps)
            stream.width, stream.height = images.shape[2], images.shape[1]
            stream.pix_fmt = pixel_format
            stream.bit_rate = 0
            stream.options = {"crf": str(crf)} | ({"preset": AV1_PRESET} if codec == "av1" else {})
            with unchanged():
                stream.codec_context.open()
            for picture in pictures:
                stop_if_asked()
                values = np.asarray(picture.convert("RGB"))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
            container.mux(stream.encode(None))
    except (FFmpegError, ValueError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputRefused(f"frames of shape {list(images.shape)} cannot be saved as {codec}: {why}") from error
    return buffer.getvalue()


class SaveVideo(Videos):
    """A video as a file, with the workflow in its tags."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        formats, codecs = VideoContainer.as_input(), VideoCodec.as_input()
        return io.Schema(
            node_id="SaveVideo",
            display_name="Save Video",
            category="image/video",
            description="Writes a video into the output folder.",
            is_output_node=True,
            inputs=[
                io.Video.Input("video", tooltip="What to save."),
                io.String.Input(
                    "filename_prefix",
                    default="video/ComfyUI",
                    multiline=False,
                    tooltip="The beginning of the file's name; it may hold folders and tokens such as %year%.",
                ),
                io.Combo.Input("format", options=formats, default="auto", tooltip="The kind of file."),
                io.Combo.Input("codec", options=codecs, default="auto", tooltip="How the pictures are packed."),
            ],
        )

    @classmethod
    def execute(cls, video: VideoInput, filename_prefix: str, format: str, codec: str) -> io.NodeOutput:  # noqa: A002
        """One file; what is of that kind already is copied, not encoded anew."""
        wanted, packed = _choice(VideoContainer, format), _choice(VideoCodec, codec)
        width, height = video.get_dimensions()
        place = cls._place(filename_prefix, width, height)
        name, path = place.next(0, VideoContainer.get_extension(format))
        try:
            video.save_to(str(path), format=wanted, codec=packed, metadata=cls._metadata())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return _shown(name, place)

    @classmethod
    def _metadata(cls) -> dict[str, Any] | None:
        """What the video is tagged with; `save_to` turns it into JSON."""
        if not cls.services.metadata:
            return None
        tags = dict(cls.hidden.extra_pnginfo or {})
        return tags if cls.hidden.prompt is None else {**tags, "prompt": cls.hidden.prompt}


def _choice(kind: Any, name: str) -> Any:
    try:
        return kind(name)
    except ValueError as error:
        raise InputRefused(f"{name[:50]!r} is not one of {', '.join(kind.as_input())}") from error


class CreateVideo(Videos):
    """Frames, and perhaps sound, as a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="CreateVideo",
            display_name="Create Video",
            category="image/video",
            description="Makes a video of frames and sound.",
            inputs=[
                io.Image.Input("images", tooltip="The frames."),
                io.Float.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0),
                io.Audio.Input("audio", optional=True, tooltip="The sound."),
            ],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, images: torch.Tensor, fps: float, audio: Audio | None = None) -> io.NodeOutput:
        """Nothing is encoded before it is saved."""
        parts = VideoComponents(images=images, frame_rate=Fraction(fps), audio=audio)  # type: ignore[arg-type]
        return io.NodeOutput(VideoFromComponents(parts))


class GetVideoComponents(Videos):
    """A video taken apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="image/video",
            description="Takes a video apart into frames, sound and rate.",
            inputs=[io.Video.Input("video", tooltip="The video to take apart.")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(cls, video: VideoInput) -> io.NodeOutput:
        """Frames [B, H, W, 3], sound or None, frames per second."""
        parts = video.get_components()
        return io.NodeOutput(parts.images, parts.audio, float(parts.frame_rate))


class LoadVideo(Videos):
    """A video file of the input folder."""

    LISTS_FILES = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        names = [
            name
            for name in cls.services.folders.input_names()
            if (mimetypes.guess_type(name)[0] or "").startswith("video/")
        ]
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="image/video",
            inputs=[io.Combo.Input("file", options=names, upload=io.UploadType.video)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """The file itself: it is read by those who need its frames."""
        return io.NodeOutput(VideoFromFile(cls.services.folders.find_annotated(file)))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> Any:
        """The content decides, not the name."""
        with cls.services.folders.find_annotated(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        """The file must exist, inside its folder."""
        try:
            found = file is None or cls.services.folders.find_annotated(file).is_file()
        except (ExecutorError, OSError):
            found = False
        return True if found else f"Invalid video file: {file}"


NODES: tuple[type[BuiltIn], ...] = (SaveWEBM, SaveVideo, CreateVideo, GetVideoComponents, LoadVideo)
