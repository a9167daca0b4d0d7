"""Pictures made smaller, or shown by some of their channels, for browsers. It knows bytes and pixels, not routes."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

MOST_PIXELS = 178_956_970
"""More is taken for an attack on memory."""
FORMS = {"webp": "WEBP", "jpeg": "JPEG"}
DEFAULT_QUALITY = 90


def open_picture(source: Path | io.BytesIO) -> Image.Image:
    """Open, without reading the pixels yet. Raises what PIL raises, and ValueError for one that is too large."""
    picture = Image.open(source)
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise ValueError("the picture has too many pixels")
    return picture


def preview(source: Path | io.BytesIO, asked: str, channel: str = "") -> tuple[bytes, str]:
    """`webp;90` or `jpeg;80` of a picture: its bytes and type. Anything else is taken for webp of the usual quality."""
    kind, _, quality = asked.partition(";")
    form = FORMS.get(kind, "WEBP")
    level = min(int(quality), 100) if quality.isdecimal() and len(quality) < LONGEST_QUALITY else DEFAULT_QUALITY
    with open_picture(source) as picture:
        plain = form == "JPEG" or channel == "rgb"
        shown = picture.convert("RGB") if plain else _webp_mode(picture)
        out = io.BytesIO()
        shown.save(out, format=form, quality=level)
    return out.getvalue(), f"image/{form.lower()}"


LONGEST_QUALITY = 10


def _webp_mode(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGB", "RGBA"):
        return picture
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def channels(source: Path, channel: str) -> tuple[bytes, str]:
    """A PNG of the colours alone (`rgb`), or of the alpha alone (`a`): black, as opaque as the picture is."""
    out = io.BytesIO()
    with open_picture(source) as picture:
        if channel == "rgb":
            picture.convert("RGB").save(out, format="PNG")
        else:
            shown = Image.new("RGBA", picture.size)
            shown.putalpha(picture.convert("RGBA").getchannel("A"))
            shown.save(out, format="PNG")
    return out.getvalue(), "image/png"
