"""Sound files to AUDIO and back, by PyAV. It knows containers and codecs, not the nodes.

An AUDIO is a dict: waveform float32 [B, C, T] in -1..1, sample_rate in hertz.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.progress import stop_if_asked

Audio = dict[str, Any]

CHECKED_BYTES = 1 << 26
"""How much is decoded between two looks at what memory is left."""
CHUNK_SAMPLES = 1 << 20
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
MOST_OPUS_BITS = 256_000
"""Per second and channel."""
LOWPASS_WIDTH = 6
ROLLOFF = 0.99

MEDIA_OPTIONS: Mapping[str, str] = {
    "protocol_whitelist": "file",
    "format_whitelist": "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,ogg,opus,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "avi,asf,flv,mpeg,mpegts,mpegvideo,m4v,h264,hevc,ivf,gif,wv,tta,ape",
}
"""Only formats that hold their media themselves: a playlist would make the decoder open what its author names."""


@dataclass(frozen=True, slots=True)
class Format:
    """How sound is written. bit_rate: per second; None for lossless and for MP3's best variable rate.

    rates: the sample rates that the codec knows, rising; empty for any.
    """

    container: str
    codec: str
    bit_rate: int | None = None
    rates: tuple[int, ...] = ()

    def rate_for(self, rate: int) -> int:
        """The sample rate itself, or the lowest known one above it, or the highest."""
        if not self.rates or rate in self.rates:
            return rate
        return next((known for known in self.rates if known > rate), self.rates[-1])


MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
FLAC = Format("flac", "flac")


def mp3(bit_rate: int | None) -> Format:
    """MP3 of a constant rate in bits per second, or of the best variable one."""
    return Format("mp3", "libmp3lame", bit_rate, MP3_RATES)


def opus(bit_rate: int) -> Format:
    """Opus in Ogg."""
    return Format("opus", "libopus", bit_rate, OPUS_RATES)


def read_sound(path: Path, name: str) -> Audio:
    """The first sound track of a file, [1, C, T]. Raises InputRefused when there is none or it is damaged."""
    try:
        with av.open(str(path), options=dict(MEDIA_OPTIONS)) as container:
            if not container.streams.audio:
                raise InputRefused(f"{name} has no audio stream")
            stream = container.streams.audio[0]
            pieces = list(_decoded(container, stream, name))
            rate = int(stream.codec_context.sample_rate)
    except (FFmpegError, ValueError, OSError, UnicodeDecodeError) as error:
        raise InputRefused(f"{name} is not a sound file that can be read: {_why(error)}") from error
    if not pieces or rate <= 0:
        raise InputRefused(f"{name} holds no sound")
    require(sum(piece.numel() for piece in pieces) * 4, f"reading {name}")
    return {"waveform": torch.cat(pieces, dim=1)[None], "sample_rate": rate}


def _why(error: BaseException) -> str:
    """The reason without the path, which is nobody's business."""
    return str(getattr(error, "strerror", None) or error)[:200]


def _decoded(container: Any, stream: Any, name: str) -> Iterator[torch.Tensor]:
    """[C, t] of each frame; what comes before damage counts."""
    unchecked = 0
    for frame in _frames_until_damage(container, stream):
        values = _floats(frame.to_ndarray())
        if not frame.format.is_planar:
            values = values.reshape(-1, frame.layout.nb_channels).t().contiguous()
        yield values
        unchecked += values.numel() * 4
        if unchecked > CHECKED_BYTES:
            stop_if_asked()
            require(2 * unchecked, f"reading {name}")
            unchecked = 0


def _frames_until_damage(container: Any, stream: Any) -> Iterator[Any]:
    seen = False
    try:
        for frame in container.decode(stream):
            seen = True
            yield frame
    except FFmpegError:
        if not seen:
            raise


def _floats(values: np.ndarray[Any, Any]) -> torch.Tensor:
    """Samples of any kind as float32 in -1..1."""
    if values.dtype == np.uint8:
        return torch.from_numpy((values.astype(np.float32) - 128.0) / 128.0)
    if np.issubdtype(values.dtype, np.integer):
        scale = float(2 ** (8 * values.dtype.itemsize - 1))
        return torch.from_numpy(values).float() / scale
    return torch.from_numpy(values.astype(np.float32, copy=False))


def write_sound(waveform: torch.Tensor, rate: int, wanted: Format, tags: Mapping[str, str]) -> bytes:
    """A file of one waveform [C, T]. Raises InputRefused for what the codec does not take."""
    channels = waveform.shape[0]
    if channels not in LAYOUTS:
        raise InputRefused(f"sound of {channels} channels cannot be saved")
    waveform, rate = to_rate(waveform, rate, wanted.rate_for(rate)), wanted.rate_for(rate)
    require(waveform.numel() * 8, "encoding sound")
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format=wanted.container) as container:
            container.metadata.update(tags)
            stream: Any = container.add_stream(wanted.codec, rate=rate, layout=LAYOUTS[channels])
            _set_quality(stream, wanted, channels)
            for frame in _frames(waveform, rate):
                stop_if_asked()
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (FFmpegError, ValueError) as error:
        raise InputRefused(
            f"sound of {channels} channels at {rate} Hz cannot be saved as {wanted.container}: {_why(error)}"
        ) from error
    return buffer.getvalue()


def _set_quality(stream: Any, wanted: Format, channels: int) -> None:
    if wanted.bit_rate is not None:
        most = MOST_OPUS_BITS * channels if wanted.codec == "libopus" else wanted.bit_rate
        stream.bit_rate = min(wanted.bit_rate, most)
    elif wanted.codec == "libmp3lame":
        stream.codec_context.qscale = 1


def _frames(waveform: torch.Tensor, rate: int) -> Iterator[av.AudioFrame]:
    layout = LAYOUTS[waveform.shape[0]]
    for start in range(0, waveform.shape[1], CHUNK_SAMPLES):
        part = waveform[:, start : start + CHUNK_SAMPLES].detach().cpu().float()
        frame = av.AudioFrame.from_ndarray(part.t().contiguous().reshape(1, -1).numpy(), format="flt", layout=layout)
        frame.sample_rate = rate
        frame.pts = start
        yield frame


def to_rate(waveform: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """[..., T] at another rate, by a Hann-windowed sinc (J. O. Smith, "Digital Audio Resampling").

    Six zero crossings on each side, cut off at 0.99 of the lower rate's half. Raises InputRefused for rates below 1.
    """
    if old < 1 or new < 1:
        raise InputRefused(f"sound cannot be taken from {old} to {new} Hz")
    if old == new or not waveform.shape[-1]:
        return waveform
    step, phases = old // math.gcd(old, new), new // math.gcd(old, new)
    length = math.ceil(waveform.shape[-1] * phases / step)
    require(math.prod(waveform.shape[:-1]) * length * 8, f"resampling to {new} Hz")
    kernels, reach = _sinc_kernels(step, phases)
    flat = torch.nn.functional.pad(waveform.reshape(-1, 1, waveform.shape[-1]), (reach, reach + step))
    made = torch.nn.functional.conv1d(flat, kernels.to(waveform), stride=step)
    return made.transpose(1, 2).reshape(*waveform.shape[:-1], -1)[..., :length]


def _sinc_kernels(step: int, phases: int) -> tuple[torch.Tensor, int]:
    """([phases, 1, taps], taps on either side) for `phases` samples out of every `step` in."""
    cutoff = min(step, phases) * ROLLOFF
    reach = math.ceil(LOWPASS_WIDTH * step / cutoff)
    require(phases * (2 * reach + step) * 8, "resampling")
    taps = torch.arange(-reach, reach + step, dtype=torch.float64)[None, None] / step
    times = torch.arange(0, -phases, -1, dtype=torch.float64)[:, None, None] / phases + taps
    times = (times * cutoff).clamp(-LOWPASS_WIDTH, LOWPASS_WIDTH)
    window = torch.cos(times * math.pi / LOWPASS_WIDTH / 2) ** 2
    return (torch.sinc(times) * window * (cutoff / step)).float(), reach
