"""Stored pictures in other forms: smaller, some of their channels, one with another's alpha. Bytes in, bytes out.

The work is done in a thread, few at once, and never on more pixels than MOST_PIXELS. It knows no files and no routes.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from orchestrator.errors import BadRequest

MOST_PIXELS: Final = 50_000_000
LARGEST: Final = 100_000_000
"""Bytes of a picture that is worked on."""
AT_ONCE: Final = 2
READABLE: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
PREVIEWS: Final = {"webp": "WEBP", "jpeg": "JPEG"}
KEEPS_ALPHA: Final = {".png": "PNG", ".webp": "WEBP"}
USUAL_QUALITY: Final = 90
_WRONG: Final = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)


class Pictures:
    """One for the process: what bounds how many are in memory."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def preview(self, data: bytes, asked: str, channel: str) -> tuple[bytes, str]:
        """`webp;90` or `jpeg;80` of a picture: bytes and type. Raises BadRequest."""
        return await self._done(lambda: _preview(data, asked, channel))

    async def channels(self, data: bytes, channel: str) -> tuple[bytes, str]:
        """A PNG of the colours alone (`rgb`), or of the alpha alone (`a`). Raises BadRequest."""
        return await self._done(lambda: _channels(data, channel))

    async def masked(self, data: bytes, mask: bytes, name: str) -> tuple[bytes, str]:
        """The picture with the mask's alpha, in the form that the name says (.png, .webp). Raises BadRequest."""
        form = KEEPS_ALPHA.get(PurePosixPath(name).suffix.lower())
        if form is None:
            raise BadRequest("a picture with a mask is stored as .png or .webp", code="bad_picture")
        return await self._done(lambda: _masked(data, mask, form))

    async def _done(self, work: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str]:
        async with self._gate:
            try:
                return await asyncio.to_thread(work)
            except _WRONG as error:
                detail = f"this is no picture that can be shown: {str(error)[:200]}"
                raise BadRequest(detail, code="bad_picture") from error


def _open(data: bytes) -> Image.Image:
    """Without reading the pixels yet. Raises what PIL raises, and ValueError for one that is too large."""
    picture = Image.open(io.BytesIO(data), formats=READABLE)
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise ValueError(f"it has more than {MOST_PIXELS} pixels")
    return picture


def _preview(data: bytes, asked: str, channel: str) -> tuple[bytes, str]:
    kind, _, quality = asked.partition(";")
    form = PREVIEWS.get(kind, "WEBP")
    level = min(int(quality), 100) if quality.isdecimal() and len(quality) < 4 else USUAL_QUALITY
    with _open(data) as picture:
        plain = form == "JPEG" or channel == "rgb" or not picture.has_transparency_data
        return _saved(picture.convert("RGB" if plain else "RGBA"), form, quality=level), f"image/{form.lower()}"


def _channels(data: bytes, channel: str) -> tuple[bytes, str]:
    with _open(data) as picture:
        if channel == "rgb":
            return _saved(picture.convert("RGB"), "PNG"), "image/png"
        shown = Image.new("RGBA", picture.size)
        shown.putalpha(picture.convert("RGBA").getchannel("A"))
        return _saved(shown, "PNG"), "image/png"


def _masked(data: bytes, mask: bytes, form: str) -> tuple[bytes, str]:
    with _open(data) as below, _open(mask) as above:
        if below.size != above.size:
            raise ValueError(f"the picture is {below.width} x {below.height}, the mask {above.width} x {above.height}")
        text = PngInfo()
        for key, value in getattr(below, "text", {}).items():
            text.add_text(key, value)
        shown = below.convert("RGBA")
        shown.putalpha(above.convert("RGBA").getchannel("A"))
    options = {"pnginfo": text} if form == "PNG" else {"lossless": True}
    return _saved(shown, form, **options), f"image/{form.lower()}"


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format=form, **options)
    return out.getvalue()


PICTURES: Final = Pictures()
"""The process's."""
