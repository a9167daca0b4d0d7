"""Videos from files and from pictures, read and written with PyAV. It knows neither nodes nor folders.

Files are read when asked for: a video that is only passed on or saved again is never decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.audio import AudioStream
from av.container import InputContainer, OutputContainer
from av.video import VideoStream

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.progress import stop_if_asked
from comfy_core.sound import MEDIA_OPTIONS
from comfy_core.v3.media import AudioInput, VideoCodec, VideoComponents, VideoContainer, VideoInput

BYTES_PER_VALUE = 4
KEEP_TAGS = {"movflags": "use_metadata_tags"}
"""An MP4 otherwise drops every tag it has no box for, the workflow among them."""
FILE_FACTS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
"""Tags that describe the file they stand in, not the video."""
MP4_ENDINGS = frozenset({".mp4", ".m4v", ".mov"})
LAYOUTS: Mapping[int, str] = {1: "mono", 2: "stereo", 6: "5.1"}
RATE_STEPS = 1000
FRAMES_PER_CHECK = 32


@contextmanager
def opened(source: str | BytesIO) -> Iterator[InputContainer]:
    """The file, ready to be read. Raises InputRefused for one that is no video or is damaged."""
    name = Path(source).name if isinstance(source, str) else "the video"
    if isinstance(source, BytesIO):
        source.seek(0)
    try:
        with av.open(source, mode="r", options=dict(MEDIA_OPTIONS), metadata_errors="ignore") as container:
            yield container
    except av.error.FileNotFoundError as error:
        raise InputRefused(f"there is no video {name}") from error
    except av.error.FFmpegError as error:
        raise InputRefused(f"{name} cannot be read as a video: {error.strerror}") from error


def picture_stream(container: InputContainer) -> VideoStream:
    """The first stream of pictures. Raises InputRefused where there is none."""
    if not container.streams.video:
        raise InputRefused("the file has no pictures")
    return container.streams.video[0]


class VideoFromFile(VideoInput):
    """A video file, or its bytes."""

    def __init__(self, file: str | Path | BytesIO) -> None:
        self._file = file if isinstance(file, BytesIO) else str(file)

    def get_stream_source(self) -> str | BytesIO:
        """The path, or the bytes from their beginning."""
        if isinstance(self._file, BytesIO):
            self._file.seek(0)
        return self._file

    def get_dimensions(self) -> tuple[int, int]:
        """(width, height) of the first stream of pictures."""
        with opened(self._file) as container:
            stream = picture_stream(container)
            return int(stream.width), int(stream.height)

    def get_duration(self) -> float:
        """Seconds, as the file says; counted from its frames where it does not say."""
        with opened(self._file) as container:
            if container.duration is not None:
                return float(container.duration / av.time_base)
            stream = picture_stream(container)
            frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
            return float(frames / rate_of(stream))

    def get_container_format(self) -> str:
        """The names of the kind of file, joined by commas."""
        with opened(self._file) as container:
            return str(container.format.name)

    def get_components(self) -> VideoComponents:
        """Every picture in memory. Raises OutOfMemory before there is none left, InputRefused for a damaged file."""
        with opened(self._file) as container:
            stream = picture_stream(container)
            images = _pictures(container, stream)
            rate = rate_of(stream)
            tags = dict(container.metadata)
        with opened(self._file) as container:
            return VideoComponents(images, rate, _sound(container), tags)

    def save_to(
        self,
        path: str | BytesIO,
        format: VideoContainer = VideoContainer.AUTO,  # noqa: A002 - the node protocol's name
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Copy the packets as they are where the file is of that kind already; encode anew where it is not."""
        with opened(self._file) as container:
            fits = format == VideoContainer.AUTO or str(format.value) in container.format.name.split(",")
            present = picture_stream(container).codec_context.name
            if fits and codec in (VideoCodec.AUTO, present):
                _copy(container, path, metadata or {})
                return
        VideoFromComponents(self.get_components()).save_to(path, format, codec, metadata)


class VideoFromComponents(VideoInput):
    """A video made of pictures and sound in memory."""

    def __init__(self, components: VideoComponents) -> None:
        self._components = components

    def get_components(self) -> VideoComponents:
        """What it was made of."""
        return self._components

    def save_to(
        self,
        path: str | BytesIO,
        format: VideoContainer = VideoContainer.AUTO,  # noqa: A002
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """H.264 and AAC in an MP4. Raises ValueError for another kind, InputRefused for what cannot be encoded."""
        if format not in (VideoContainer.AUTO, VideoContainer.MP4):
            raise ValueError("videos are written as MP4 only")
        if codec not in (VideoCodec.AUTO, VideoCodec.H264):
            raise ValueError("videos are encoded as H264 only")
        images = self._components.images
        if images.ndim != 4 or not images.shape[0] or images.shape[1] % 2 or images.shape[2] % 2:
            raise InputRefused(f"H.264 wants frames of even width and height, not {list(images.shape)}")
        try:
            with av.open(path, mode="w", format="mp4", options=KEEP_TAGS) as container:
                _tag(container, {key: json.dumps(value) for key, value in (metadata or {}).items()})
                _encode(container, self._components)
        except av.error.FFmpegError as error:
            raise InputRefused(f"the video cannot be encoded: {error.strerror}") from error


def rate_of(stream: VideoStream) -> Fraction:
    """Frames per second, 1 where the file does not say."""
    return Fraction(stream.average_rate) if stream.average_rate else Fraction(1)


def _pictures(container: InputContainer, stream: VideoStream) -> torch.Tensor:
    frames: list[np.ndarray[Any, Any]] = []
    size = int(stream.width) * int(stream.height) * 3 * BYTES_PER_VALUE
    require(size * max(stream.frames, 1), "the video's frames")
    for frame in container.decode(stream):
        if len(frames) % FRAMES_PER_CHECK == 0:
            stop_if_asked()
            require(size * (len(frames) + FRAMES_PER_CHECK), "the video's frames")
        frames.append(frame.to_ndarray(format="rgb24"))
    if not frames:
        return torch.zeros((0, int(stream.height), int(stream.width), 3))
    images = torch.empty((len(frames), *frames[0].shape), dtype=torch.float32)
    for index, frame_values in enumerate(frames):
        images[index] = torch.from_numpy(frame_values)
    return images.div_(255.0)


def _sound(container: InputContainer) -> AudioInput | None:
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format="fltp")
    parts: list[np.ndarray[Any, Any]] = []
    for frame in container.decode(stream):
        parts.extend(each.to_ndarray() for each in resampler.resample(frame))
    parts.extend(each.to_ndarray() for each in resampler.resample(None))
    if not parts:
        return None
    waveform = torch.from_numpy(np.concatenate(parts, axis=1)).unsqueeze(0)
    return {"waveform": waveform, "sample_rate": int(stream.sample_rate)}


def _tag(container: OutputContainer, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        container.metadata[key] = value


def _copy(container: InputContainer, path: str | BytesIO, metadata: Mapping[str, Any]) -> None:
    """Write the same packets into a new file, with tags added."""
    kind = _kind_of(container) if isinstance(path, BytesIO) else None
    is_mp4 = kind == "mp4" or (isinstance(path, str) and Path(path).suffix.lower() in MP4_ENDINGS)
    kept = {key: value for key, value in container.metadata.items() if key not in FILE_FACTS}
    added = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    with av.open(path, mode="w", format=kind, options=KEEP_TAGS if is_mp4 else {}) as output:
        _tag(output, kept | added)
        streams = {
            stream.index: output.add_stream_from_template(stream, opaque=True)
            for stream in (*container.streams.video, *container.streams.audio)
        }
        for packet in container.demux(*(container.streams[index] for index in streams)):
            stop_if_asked()
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)


def _kind_of(container: InputContainer) -> str:
    names = container.format.name.split(",")
    return "mp4" if "mp4" in names else names[0]


def _encode(container: OutputContainer, parts: VideoComponents) -> None:
    rate = Fraction(round(parts.frame_rate * RATE_STEPS), RATE_STEPS)
    pictures = container.add_stream("h264", rate=rate)
    pictures.height, pictures.width = int(parts.images.shape[1]), int(parts.images.shape[2])
    pictures.pix_fmt = "yuv420p"
    sound = _sound_stream(container, parts.audio)
    for image in parts.images:
        stop_if_asked()
        values = (image[..., :3] * 255).clamp(0, 255).byte().cpu().numpy()
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(values, format="rgb24").reformat(format="yuv420p")))
    container.mux(pictures.encode(None))
    if sound is not None and parts.audio is not None:
        _encode_sound(container, sound, parts)


def _sound_stream(container: OutputContainer, audio: AudioInput | None) -> AudioStream | None:
    """Streams are declared before the first packet is written."""
    if audio is None:
        return None
    channels = int(audio["waveform"].shape[1])
    if channels not in LAYOUTS:
        raise InputRefused(f"a video's sound has 1, 2 or 6 channels, not {channels}")
    return container.add_stream("aac", rate=int(audio["sample_rate"]), layout=LAYOUTS[channels])


def _encode_sound(container: OutputContainer, stream: AudioStream, parts: VideoComponents) -> None:
    """The first of the batch, cut where the pictures end."""
    if parts.audio is None:
        return
    rate = int(parts.audio["sample_rate"])
    length = -(-rate * parts.images.shape[0] // parts.frame_rate)
    values = parts.audio["waveform"][0, :, : int(length)].detach().cpu().float().contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(values, format="fltp", layout=LAYOUTS[values.shape[0]])
    frame.sample_rate = rate
    frame.pts = 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
