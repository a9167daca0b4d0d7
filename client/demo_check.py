"""Is a picture what the demo's workflow makes of a photo? Pure: two pictures in, complaints out.

It knows pixels, not runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

LONG_SIDE = 768
FACTOR = 4
BLANK = 10.0  # a standard deviation of brightness below this is no photo
FAR = 8.0  # mean difference, of 255, between the photo and the result at the photo's size
SHARPER = 1.15  # times the detail that bicubic enlargement shows

Pixels = npt.NDArray[np.float32]


def complaints(result: Path, photo: Path) -> list[str]:
    """What is wrong with the result of a photo, in words; an empty list when it is right."""
    try:
        with Image.open(result) as opened:
            kind, picture = opened.format, opened.convert("RGB")
        with Image.open(photo) as opened:
            source = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        return [f"cannot be decoded: {error}"]
    if kind != "PNG":
        return [f"is {kind}, not PNG"]
    return wrong_size(picture.size, source.size) or wrong_content(picture, source)


def wrong_size(size: tuple[int, int], source: tuple[int, int]) -> list[str]:
    """The long side is 768 pixels and the shape is the photo's, to one pixel of the small picture."""
    if max(size) != LONG_SIDE:
        return [f"is {size[0]}x{size[1]}: the long side is not {LONG_SIDE}"]
    expected = min(source) * LONG_SIDE / max(source)
    if abs(min(size) - expected) > FACTOR or (size[0] < size[1]) != (source[0] < source[1]):
        return [f"is {size[0]}x{size[1]}, the photo is {source[0]}x{source[1]}: the shape changed"]
    return []


def wrong_content(picture: Image.Image, source: Image.Image) -> list[str]:
    """Not blank, the photo's own content the right way round, and sharper than plain enlargement."""
    if float(grey(picture).std()) < BLANK:
        return ["is blank"]
    small = source.resize((picture.width // FACTOR, picture.height // FACTOR), Image.Resampling.BOX)
    reduced = pixels(picture.resize(small.size, Image.Resampling.BOX))
    wanted = pixels(small)
    distance = difference(reduced, wanted)
    turned = min(difference(reduced, other) for other in (wanted[::-1], wanted[:, ::-1], wanted[::-1, ::-1]))
    if turned < distance * 2:
        return [f"is not the right way round (difference {distance:.1f}, turned {turned:.1f})"]
    if distance > FAR:
        return [f"is not the photo (mean difference {distance:.1f} of 255)"]
    ratio = detail(picture) / max(detail(small.resize(picture.size, Image.Resampling.BICUBIC)), 1e-6)
    if ratio < SHARPER:
        return [f"is not sharp ({ratio:.2f} times the detail of bicubic enlargement)"]
    return []


def pixels(picture: Image.Image) -> Pixels:
    """Height x width x 3, 0..255."""
    return np.asarray(picture, dtype=np.float32)


def grey(picture: Image.Image) -> Pixels:
    """Brightness, height x width, 0..255."""
    return np.asarray(picture.convert("L"), dtype=np.float32)


def difference(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference, 0..255."""
    return float(np.abs(one - other).mean())


def detail(picture: Image.Image) -> float:
    """Mean absolute Laplacian of the brightness: how much fine structure there is."""
    light = grey(picture)
    inner = 4 * light[1:-1, 1:-1] - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    return float(np.abs(inner).mean())
