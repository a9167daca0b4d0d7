"""Image files to tensors and back. It knows PIL and torch, not the nodes.

An IMAGE is float32 [B, H, W, C] in 0..1; a MASK is float32 [B, H, W], 1 where masked.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from comfy_core.errors import InputRefused
from comfy_core.memory import require

MOST_PIXELS = 178_956_970
"""Pixels over all frames of one file; more is taken for an attack on memory."""
BYTES_PER_VALUE = 4
NO_MASK = 64
DIMENSIONS = 4
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""PIL's name for a picture of so many channels."""


def read_image(source: Path | bytes, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(IMAGE, MASK) of a file, right side up; all frames of the first one's size. Raises InputRefused."""
    with reading(source, name) as opened:
        frames = list(_frames(opened))
    if not frames:
        raise InputRefused(f"{name} has no frames")
    return torch.cat([image for image, _ in frames]), torch.cat([mask for _, mask in frames])


def read_channel(source: Path | bytes, name: str, channel: str) -> torch.Tensor:
    """MASK [1, H, W] from one channel (red, green, blue, alpha) of a file's first frame; alpha turned round."""
    with reading(source, name) as opened:
        picture = _plain(ImageOps.exif_transpose(opened)).convert("RGBA")
    values = torch.from_numpy(np.asarray(picture.getchannel(channel[0].upper()), dtype=np.float32) / 255.0)[None]
    return 1.0 - values if channel == "alpha" else values


@contextmanager
def reading(source: Path | bytes, name: str) -> Iterator[Image.Image]:
    """The file opened; whatever is wrong with it comes out as InputRefused."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            _refuse_huge(opened, name)
            yield opened
    except Image.DecompressionBombError as error:
        raise InputRefused(f"{name} has too many pixels") from error
    except UnidentifiedImageError as error:
        raise InputRefused(f"{name} is not an image") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputRefused(f"{name} is a damaged image: {str(error)[:200]}") from error


def _refuse_huge(opened: Image.Image, name: str) -> None:
    pixels = opened.width * opened.height * getattr(opened, "n_frames", 1)
    if pixels > MOST_PIXELS:
        raise InputRefused(f"{name} has {pixels} pixels, at most {MOST_PIXELS} are read")
    require(pixels * 4 * BYTES_PER_VALUE, f"reading {name}")


def _frames(opened: Image.Image) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each frame; of a camera's MPO only the picture itself, not what is kept beside it."""
    size: tuple[int, int] | None = None
    for frame in ImageSequence.Iterator(opened):
        upright = _plain(ImageOps.exif_transpose(frame))
        size = size or upright.size
        if upright.size == size:
            yield to_tensor(upright.convert("RGB")), _mask_of(upright)
        if opened.format == "MPO":
            return


def _plain(frame: Image.Image) -> Image.Image:
    """Modes that PIL converts badly: 16 bits are brought down to 8, a palette's alpha becomes a band."""
    if frame.mode.startswith("I"):
        return frame.convert("I").point(lambda value: value * (1 / 255)).convert("L")
    if frame.mode == "P" and "transparency" in frame.info:
        return frame.convert("RGBA")
    return frame


def _mask_of(frame: Image.Image) -> torch.Tensor:
    if "A" in frame.getbands():
        return 1.0 - to_tensor(frame.getchannel("A"))
    return torch.zeros((1, NO_MASK, NO_MASK))


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """An 8-bit picture as IMAGE of one frame."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)[None]


def as_masks(mask: torch.Tensor) -> torch.Tensor:
    """A MASK as [B, H, W]; one of [H, W] is a batch of one, further dimensions join the batch."""
    return mask.reshape(mask.shape[:-2].numel(), *mask.shape[-2:])


def with_channels(image: torch.Tensor, channels: int) -> torch.Tensor:
    """Missing channels added as ones: an image without alpha gets an opaque one."""
    missing = channels - image.shape[3]
    return torch.nn.functional.pad(image, (0, missing), value=1.0) if missing else image


def to_pictures(images: Any) -> Iterator[Image.Image]:
    """Each frame of an IMAGE as an 8-bit picture, values truncated. Raises InputRefused for what is no IMAGE."""
    if not isinstance(images, torch.Tensor) or images.ndim != DIMENSIONS:
        raise InputRefused(f"an image has four dimensions, not {getattr(images, 'ndim', type(images).__name__)}")
    if not images.numel():
        raise InputRefused(
            f"an image of {images.shape[2]} x {images.shape[1]} pixels in {images.shape[0]} frames is empty"
        )
    if images.shape[3] not in MODES:
        raise InputRefused(f"a picture has 1, 3 or 4 channels, not {images.shape[3]}")
    return _pictures(images)


def _pictures(images: torch.Tensor) -> Iterator[Image.Image]:
    """What is not a number comes out black."""
    height, width, channels = images.shape[1:]
    mode = MODES[channels]
    for frame in images.unbind():
        values = frame.cpu().float().numpy(force=True) * np.float32(255)
        np.clip(values, 0, 255, out=values)
        if np.isnan(values.sum()):
            np.nan_to_num(values, copy=False)
        yield Image.frombuffer(mode, (width, height), values.astype(np.uint8, order="C"), "raw", mode, 0, 1)


def write_png(picture: Image.Image, path: Path, chunks: PngInfo | None, compress_level: int) -> None:
    """Write a file whole or not at all. Encoded in memory: PIL asks more of the file system than a small one takes.

    Raises OSError.
    """
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", pnginfo=chunks, compress_level=compress_level)
    file = io.FileIO(path, "w")
    try:
        with file:
            left = encoded.getbuffer()
            while left:
                left = left[file.write(left) :]
    except OSError:
        path.unlink(missing_ok=True)
        raise


def png_metadata(prompt: Any, extra: Mapping[str, Any] | None) -> PngInfo:
    """Text chunks with the workflow that made an image."""
    chunks = PngInfo()
    if prompt is not None:
        chunks.add_text("prompt", json.dumps(prompt))
    for key, value in (extra or {}).items():
        chunks.add_text(key, json.dumps(value))
    return chunks
