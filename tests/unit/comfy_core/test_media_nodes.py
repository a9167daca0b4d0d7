"""Sound and videos are read, changed and written: what comes back from the files is what went in."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from comfy_core.errors import InputRefused, OutOfMemory
from comfy_core.registry import Registry
from comfy_core.sound import read_sound, to_rate
from tests.unit.comfy_core.bound_nodes import call, counting, nodes_in, one

HIDDEN = {"prompt": {"1": {"class_type": "X"}}, "extra_pnginfo": {"workflow": {"nodes": []}}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with files that are whole, cut short, foreign and malicious."""
    base = tmp_path_factory.mktemp("media")
    (base / "input").mkdir()
    return base


@pytest.fixture(scope="module")
def registry(base: Path) -> Registry:
    """The built-in nodes over those folders."""
    return nodes_in(base)


def tone(channels: int = 2, rate: int = 44100, seconds: float = 0.5, hertz: float = 440.0) -> dict[str, Any]:
    """A sine of half the full range on every channel."""
    time = torch.arange(int(rate * seconds)) / rate
    return {"waveform": (0.5 * torch.sin(2 * math.pi * hertz * time)).repeat(1, channels, 1), "sample_rate": rate}


def save(registry: Registry, base: Path, name: str, **inputs: Any) -> Path:
    """Call a saving node; where its first file lies."""
    shown = next(iter(call(name, registry, HIDDEN, **inputs)["ui"].values()))[0]
    return base / shown["type"] / shown["subfolder"] / shown["filename"]


def tags(path: Path) -> dict[str, str]:
    """All tags of a file, names in lower case: containers differ in that."""
    with av.open(str(path)) as container:
        found = dict(container.metadata)
        for stream in container.streams:
            found |= stream.metadata
    return {key.lower(): value for key, value in found.items()}


@pytest.mark.parametrize(
    ("name", "inputs", "ending", "close"),
    [
        ("SaveAudio", {}, ".flac", 1 / 32000),
        ("SaveAudioMP3", {"quality": "V0"}, ".mp3", 0.03),
        ("SaveAudioMP3", {"quality": "128k"}, ".mp3", 0.03),
        ("SaveAudioOpus", {"quality": "128k"}, ".opus", 0.1),
        ("SaveAudioOpus", {"quality": "320k"}, ".opus", 0.1),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_saved_sound_comes_back(
    registry: Registry, base: Path, name: str, inputs: dict[str, Any], ending: str, close: float, channels: int
) -> None:
    """Every format at 48 kHz, with the workflow in its tags; FLAC to 16 bits, the others as near as they get."""
    sound = tone(channels, 48000)
    path = save(registry, base, name, audio=sound, filename_prefix="sounds/tone", **inputs)
    assert path.suffix == ending
    back = read_sound(path, path.name)
    assert back["sample_rate"] == 48000
    assert back["waveform"].shape[1] == channels
    middle = slice(4000, 20000)
    assert (back["waveform"][..., middle] - sound["waveform"][..., middle]).abs().max() < close
    assert json.loads(tags(path)["prompt"]) == HIDDEN["prompt"]
    assert json.loads(tags(path)["workflow"]) == {"nodes": []}


def test_each_sound_of_a_batch_has_a_file_and_previews_lie_in_temp(registry: Registry, base: Path) -> None:
    """Two waveforms, two counters; a preview's prefix is the node's own."""
    pair = {"waveform": tone()["waveform"].repeat(2, 1, 1), "sample_rate": 44100}
    shown = call("SaveAudio", registry, audio=pair, filename_prefix="pair")["ui"]["audio"]
    assert [one["filename"] for one in shown] == ["pair_00001_.flac", "pair_00002_.flac"]
    preview = save(registry, base, "PreviewAudio", audio=tone())
    assert preview.parent == base / "temp"
    assert preview.name.startswith("ComfyUI_temp_")


def test_without_metadata_a_file_says_nothing_of_the_workflow(tmp_path: Path) -> None:
    """As --disable-metadata wants it."""
    path = save(nodes_in(tmp_path, metadata=False), tmp_path, "SaveAudio", audio=tone(), filename_prefix="x")
    assert not {"prompt", "workflow"} & set(tags(path))


def test_sound_of_a_rate_that_a_codec_lacks_is_resampled(registry: Registry, base: Path) -> None:
    """Opus knows no 44.1 kHz, MP3 no 96 kHz: the next higher rate, or the highest."""
    opus = save(registry, base, "SaveAudioOpus", audio=tone(), filename_prefix="r", quality="96k")
    assert read_sound(opus, "")["sample_rate"] == 48000
    mp3 = save(registry, base, "SaveAudioMP3", audio=tone(rate=96000), filename_prefix="r", quality="320k")
    assert read_sound(mp3, "")["sample_rate"] == 48000


def test_silence_of_no_length_is_a_file_of_no_length(registry: Registry, base: Path) -> None:
    """No format fails on it; what it holds is no sound."""
    nothing = one("EmptyAudio", duration=0.0, sample_rate=44100, channels=2)
    for name, inputs in (("SaveAudio", {}), ("SaveAudioOpus", {"quality": "64k"}), ("SaveAudioMP3", {"quality": "V0"})):
        path = save(registry, base, name, audio=nothing, filename_prefix="nothing", **inputs)
        with pytest.raises(InputRefused):
            read_sound(path, path.name)


@pytest.mark.parametrize(("old", "new"), [(44100, 48000), (48000, 44100), (16000, 44100), (44100, 16000)])
def test_resampling_keeps_a_tone(old: int, new: int) -> None:
    """A sine well below both limits is the same sine at the other rate, away from the ends."""
    made = to_rate(tone(1, old, hertz=1000.0)["waveform"], old, new)
    wanted = tone(1, new, hertz=1000.0)["waveform"]
    assert abs(made.shape[-1] - wanted.shape[-1]) <= 1
    inner = slice(1000, min(made.shape[-1], wanted.shape[-1]) - 1000)
    assert (made[..., inner] - wanted[..., inner]).abs().max() < 0.005


def test_cutting_joining_and_mixing_sound() -> None:
    """Seconds, decibels, channels; a mixture that would clip becomes softer as a whole."""
    ramp = {"waveform": counting(1, 2, 10) / 20, "sample_rate": 10}
    cut = one("TrimAudioDuration", audio=ramp, start_index=-0.5, duration=0.2)
    assert torch.equal(cut["waveform"], ramp["waveform"][..., 5:7])
    left, right = call("SplitAudioChannels", audio=ramp)
    assert torch.equal(torch.cat((left["waveform"], right["waveform"]), 1), ramp["waveform"])
    joined = one("AudioConcat", audio1=left, audio2=ramp, direction="before")["waveform"]
    assert tuple(joined.shape) == (1, 2, 20)
    assert torch.equal(joined[..., :10], ramp["waveform"])
    assert torch.equal(joined[:, 0, 10:], joined[:, 1, 10:])
    short = {"waveform": torch.ones(1, 2, 4), "sample_rate": 10}
    added = one("AudioMerge", audio1=ramp, audio2=short, merge_method="add")["waveform"]
    assert added.abs().max() == 1.0
    torch.testing.assert_close(added[..., 4:] * (13 / 20 + 1), ramp["waveform"][..., 4:])
    mean = one("AudioMerge", audio1=ramp, audio2=short, merge_method="mean")["waveform"]
    torch.testing.assert_close(mean[..., 4:], ramp["waveform"][..., 4:] / 2)
    louder = one("AudioAdjustVolume", audio=short, volume=-20)["waveform"]
    torch.testing.assert_close(louder, short["waveform"] / 10)
    assert tuple(one("EmptyAudio", duration=0.5, sample_rate=16000, channels=1)["waveform"].shape) == (1, 1, 8000)


def test_sound_that_makes_no_sense_is_refused() -> None:
    """Nothing left, three channels to split, a rate of 0, more than memory holds."""
    with pytest.raises(InputRefused, match="outside"):
        call("TrimAudioDuration", audio=tone(), start_index=0.0, duration=0.0)
    with pytest.raises(InputRefused, match="two channels"):
        call("SplitAudioChannels", audio=tone(3))
    with pytest.raises(InputRefused, match="samples per second"):
        call("EmptyAudio", duration=1.0, sample_rate=0, channels=1)
    with pytest.raises(OutOfMemory):
        call("EmptyAudio", duration=2.0**60, sample_rate=44100, channels=2)


@pytest.mark.parametrize("name", ["LoadAudio", "LoadVideo"])
@pytest.mark.parametrize("file", ["foreign.mp4", "empty.mp4", "playlist.mp4", "list.mp4"])
def test_files_that_are_no_media_are_refused(registry: Registry, base: Path, name: str, file: str) -> None:
    """Text, nothing, and playlists, which would make the decoder open what their author names."""
    secret = base / "input" / "secret.flac"
    secret.write_bytes(save(registry, base, "SaveAudio", audio=tone(), filename_prefix="s").read_bytes())
    content = {
        "foreign.mp4": "not a film",
        "empty.mp4": "",
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "list.mp4": "ffconcat version 1.0\nfile secret.flac\n",
    }
    (base / "input" / file).write_text(content[file])
    loaded = call("LoadVideo", registry, file=file)[0] if name == "LoadVideo" else None
    reading = {"LoadAudio": {"audio": file}, "LoadVideo": {"video": loaded}}[name]
    with pytest.raises(InputRefused, match=file) as refused:
        call(name if loaded is None else "GetVideoComponents", registry, **reading)
    assert str(base) not in str(refused.value)


def test_a_file_cut_short_is_read_as_far_as_it_goes(registry: Registry, base: Path) -> None:
    """Sound before the damage counts; what is missing is not made up."""
    whole = save(registry, base, "SaveAudio", audio=tone(seconds=2.0), filename_prefix="long").read_bytes()
    (base / "input" / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (sound,) = call("LoadAudio", registry, audio="cut.flac")
    assert 0 < sound["waveform"].shape[-1] < 88200


@pytest.mark.parametrize(("node", "key"), [("LoadAudio", "audio"), ("LoadVideo", "file"), ("LoadLatent", "latent")])
@pytest.mark.parametrize("name", ["../outside.mp4", "absent.mp4", "/etc/passwd", "a\x00b"])
def test_names_that_lead_out_or_nowhere_do_not_pass(registry: Registry, node: str, key: str, name: str) -> None:
    """Validation says which file, and nothing else is tried."""
    cls: Any = registry[node]
    check = getattr(cls, "VALIDATE_INPUTS", None) or cls.validate_inputs
    answer = check(**{key: name})
    assert isinstance(answer, str)
    assert name in answer


def frames(count: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """A ramp that grows brighter with time."""
    line = torch.linspace(0, 0.6, width).repeat(height, 1)
    return torch.stack([(line + 0.03 * index)[..., None].repeat(1, 1, 3) for index in range(count)])


def test_a_video_keeps_its_frames_sound_rate_and_tags(registry: Registry, base: Path) -> None:
    """H.264 and AAC in MP4, read back by the loading node; saved again it is the same stream of pictures."""
    (made,) = call("CreateVideo", registry, images=frames(6), fps=12.0, audio=tone(seconds=0.5))
    inputs = {"filename_prefix": "v/%width%x%height%", "format": "auto", "codec": "auto"}
    path = save(registry, base, "SaveVideo", video=made, **inputs)
    assert path.name == "64x48_00001_.mp4"
    assert json.loads(tags(path)["prompt"]) == HIDDEN["prompt"]
    (base / "input" / "v.mp4").write_bytes(path.read_bytes())
    (loaded,) = call("LoadVideo", registry, file="v.mp4")
    images, sound, fps = call("GetVideoComponents", registry, video=loaded)
    assert tuple(images.shape) == (6, 48, 64, 3)
    assert (images - frames(6)).abs().mean() < 0.02
    assert fps == 12.0
    assert sound["sample_rate"] == 44100
    again = save(registry, base, "SaveVideo", video=loaded, **inputs)
    assert pictures(again) == pictures(path)


def pictures(path: Path) -> list[bytes]:
    """Each decoded frame."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


@pytest.mark.parametrize(("codec", "inner"), [("vp9", "vp9"), ("av1", "av1")])
def test_webm_of_both_codecs(registry: Registry, base: Path, codec: str, inner: str, capfd: Any) -> None:
    """Rate, size, pictures and tags, alpha left out; the encoder says nothing on the side."""
    images = torch.cat((frames(4), torch.ones(4, 48, 64, 1)), dim=-1)
    inputs = {"filename_prefix": "w", "codec": codec, "fps": 23.976, "crf": 20.0}
    path = save(registry, base, "SaveWEBM", images=images, **inputs)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert inner in stream.codec.name or stream.codec.name == "libdav1d"
        assert stream.average_rate == Fraction(2997, 125)
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert np.abs(shown / 255.0 - frames(4).numpy()).mean() < 0.03
    assert json.loads(tags(path)["prompt"]) == HIDDEN["prompt"]
    assert "SVT" not in capfd.readouterr().err


def test_videos_that_cannot_be_encoded_are_refused_and_leave_no_file(registry: Registry, base: Path) -> None:
    """Odd sizes for H.264, an unknown codec for WebM, a format that is not offered."""
    (odd,) = call("CreateVideo", registry, images=frames(1, 31, 33), fps=10.0)
    before = sorted((base / "output").rglob("*"))
    with pytest.raises(InputRefused):
        call("SaveVideo", registry, HIDDEN, video=odd, filename_prefix="odd", format="auto", codec="auto")
    with pytest.raises(InputRefused, match="not one of"):
        call("SaveVideo", registry, HIDDEN, video=odd, filename_prefix="odd", format="avi", codec="auto")
    with pytest.raises(InputRefused, match="WebM"):
        call("SaveWEBM", registry, images=frames(1), filename_prefix="odd", codec="h264", fps=10.0, crf=3.0)
    with pytest.raises(InputRefused, match="leads outside"):
        call("SaveWEBM", registry, images=frames(1), filename_prefix="../odd", codec="vp9", fps=10.0, crf=3.0)
    assert sorted((base / "output").rglob("*")) == before
