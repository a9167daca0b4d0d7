"""Videos: made of pictures, read back, copied without decoding, and refused where they are none."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from comfy_core import progress
from comfy_core.errors import InputRefused, Interrupted
from comfy_core.v3.media import VideoCodec, VideoComponents, VideoContainer
from comfy_core.v3.video import VideoFromComponents, VideoFromFile


def moving(frames: int = 6, height: int = 32, width: int = 48) -> torch.Tensor:
    """A grey that brightens by the frame, in two halves."""
    shades = torch.linspace(0.2, 0.8, frames).reshape(-1, 1, 1, 1).expand(frames, height, width, 3).clone()
    shades[:, :, width // 2 :] *= 0.5
    return shades


def made(audio: bool = True) -> VideoFromComponents:
    """Three quarters of a second with more sound than pictures."""
    sound: Any = {"waveform": 0.1 * torch.ones(1, 2, 44100), "sample_rate": 44100} if audio else None
    return VideoFromComponents(VideoComponents(moving(), Fraction(8), sound))


def streams(path: Path) -> list[tuple[str, str]]:
    """(kind, codec) of each stream."""
    with av.open(str(path)) as container:
        return [(stream.type, stream.codec_context.name) for stream in container.streams]


def test_pictures_survive_a_file(tmp_path: Path) -> None:
    """Frames, rate and size come back; sound is cut where the pictures end; tags are JSON."""
    path = tmp_path / "v.mp4"
    made().save_to(str(path), metadata={"prompt": {"1": {}}, "workflow": {"nodes": []}})
    assert streams(path) == [("video", "h264"), ("audio", "aac")]
    video = VideoFromFile(str(path))
    parts = video.get_components()
    assert (video.get_dimensions(), parts.frame_rate, parts.images.shape) == ((48, 32), 8, (6, 32, 48, 3))
    assert video.get_duration() == pytest.approx(0.75, abs=0.01)
    assert (parts.images - moving()).abs().max() < 0.03
    assert parts.audio is not None
    assert parts.audio["waveform"].shape[-1] / 44100 == pytest.approx(0.75, abs=0.03)
    assert parts.metadata is not None
    assert json.loads(parts.metadata["prompt"]) == {"1": {}}
    assert "mp4" in video.get_container_format().split(",")


def test_a_file_is_copied_not_encoded(tmp_path: Path) -> None:
    """Saving a video that is of the kind asked for keeps its packets, and adds tags to those it has."""
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    made().save_to(str(first), metadata={"one": 1})
    VideoFromFile(str(first)).save_to(str(second), VideoContainer.MP4, VideoCodec.H264, {"two": "zwei"})
    assert _packets(first) == _packets(second)
    parts = VideoFromFile(str(second)).get_components()
    assert parts.metadata is not None
    assert (parts.metadata["one"], parts.metadata["two"]) == ("1", "zwei")


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def test_another_kind_is_encoded_anew(tmp_path: Path) -> None:
    """A Matroska file saved as MP4 is one afterwards, with the same pictures but for the codec's loss."""
    mkv, mp4 = tmp_path / "v.mkv", tmp_path / "v.mp4"
    made(audio=False).save_to(str(mp4))
    VideoFromFile(str(mp4)).save_to(str(mkv))
    again = tmp_path / "again.mp4"
    VideoFromFile(str(mkv)).save_to(str(again), VideoContainer.MP4)
    assert "mp4" in VideoFromFile(str(again)).get_container_format()
    assert (VideoFromFile(str(again)).get_components().images - moving()).abs().max() < 0.05


def test_videos_live_in_memory_too() -> None:
    """Bytes are as good as a file, for reading and for writing, as often as asked."""
    stream = made().get_stream_source()
    assert isinstance(stream, io.BytesIO)
    video = VideoFromFile(stream)
    assert video.get_components().images.shape == video.get_components().images.shape == (6, 32, 48, 3)
    copied = io.BytesIO()
    video.save_to(copied)
    assert VideoFromFile(copied).get_dimensions() == (48, 32)
    assert made().get_dimensions() == (48, 32)
    assert made().get_duration() == 0.75


def test_odd_rates_are_kept_to_a_thousandth(tmp_path: Path) -> None:
    """29.97 is 2997/100, given as a fraction or as a number."""
    for rate in (Fraction(30000, 1001), 29.97):
        path = tmp_path / "v.mp4"
        VideoFromComponents(VideoComponents(moving(3), rate)).save_to(str(path))  # type: ignore[arg-type]
        assert VideoFromFile(str(path)).get_components().frame_rate == Fraction(2997, 100)


@pytest.mark.parametrize("content", [b"", b"junk" * 200, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    """Foreign, empty and listing files are named, without their path, and nothing else is opened for them."""
    path = tmp_path / "odd.mp4"
    path.write_bytes(content)
    with pytest.raises(InputRefused, match=r"odd\.mp4") as refused:
        VideoFromFile(str(path)).get_components()
    assert str(tmp_path) not in str(refused.value)
    with pytest.raises(InputRefused, match=r"there is no video gone\.mp4"):
        VideoFromFile(str(tmp_path / "gone.mp4")).get_dimensions()


def test_a_cut_file_is_refused_or_shorter(tmp_path: Path) -> None:
    """Half an MP4 has no index: it is refused as a whole."""
    path = tmp_path / "v.mp4"
    made().save_to(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputRefused):
        VideoFromFile(str(path)).get_components()


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    """A file without pictures says so."""
    path = tmp_path / "s.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(torch.zeros(1, 4096).numpy(), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputRefused, match="no pictures"):
        VideoFromFile(str(path)).get_dimensions()


@pytest.mark.parametrize("shape", [(3, 33, 48, 3), (3, 32, 47, 3), (0, 32, 48, 3), (32, 48, 3)])
def test_frames_that_h264_cannot_hold_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Odd sides, no frames, no batch: refused with the shape."""
    video = VideoFromComponents(VideoComponents(torch.zeros(shape), Fraction(8)))
    with pytest.raises(InputRefused, match="even width"):
        video.save_to(str(tmp_path / "v.mp4"))


def test_other_codecs_are_refused(tmp_path: Path) -> None:
    """Only MP4 and H264 are written."""
    with pytest.raises(ValueError, match="MP4"):
        made().save_to(str(tmp_path / "v"), format="webm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="H264"):
        made().save_to(str(tmp_path / "v"), codec="vp9")  # type: ignore[arg-type]


def test_encoding_stops_when_asked(tmp_path: Path) -> None:
    """Between two frames a run can be interrupted."""
    token = progress.scope.set(progress.Scope("p", "1", lambda *_: None, lambda: True))
    try:
        with pytest.raises(Interrupted):
            made().save_to(str(tmp_path / "v.mp4"))
    finally:
        progress.scope.reset(token)


def test_kinds_can_be_choices() -> None:
    """The enumerations list themselves for an input, and know a file's ending."""
    assert VideoContainer.as_input() == ["auto", "mp4"]
    assert VideoCodec.as_input() == ["auto", "h264"]
    assert VideoContainer.get_extension("auto") == VideoContainer.get_extension("mp4") == "mp4"
