"""A picture of what a node is at, on its way to a client: made small and encoded only once the client is ready for it.

It knows the two binary forms, not who reads them.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from typing import Any

import structlog
from PIL import Image, ImageOps

log = structlog.get_logger()

PREVIEW_IMAGE = 1
TEXT = 3
PREVIEW_IMAGE_WITH_METADATA = 4
IMAGE_TYPES = {"JPEG": (1, "image/jpeg"), "PNG": (2, "image/png")}
JPEG_QUALITY = 95
PNG_LEVEL = 1
LARGEST_SIDE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """One picture. size: it is scaled to fit a square of so many pixels; facts: which node of which prompt it shows.

    One of full size (size None) is a result that must arrive: it is encoded by whoever sends it, who waits that long.
    """

    kind: str
    image: Image.Image | bytes
    size: int | None
    facts: dict[str, Any]

    @property
    def node_id(self) -> Any:
        """The node that is shown."""
        return self.facts.get("node_id")

    @property
    def replaceable(self) -> bool:
        """Whether a newer picture of the same node makes this one useless."""
        return self.size is not None

    @property
    def weight(self) -> int:
        """Bytes it takes while it waits."""
        if isinstance(self.image, bytes):
            return len(self.image)
        return int(self.image.width * self.image.height * len(self.image.getbands()))

    def encoded(self, with_facts: bool) -> bytes | None:
        """The binary message: with facts for clients that negotiated them. None when the picture cannot be encoded."""
        number, mime = IMAGE_TYPES[self.kind]
        picture = (
            self.image if isinstance(self.image, bytes) else _encode(self.image, self.kind, self.size, self.node_id)
        )
        if picture is None:
            return None
        if not with_facts:
            return struct.pack(">II", PREVIEW_IMAGE, number) + picture
        facts = json.dumps(self.facts | {"image_type": mime}, default=str).encode()
        return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(facts)) + facts + picture


def preview_of(given: Any, facts: dict[str, Any]) -> Preview | None:
    """What a node handed over, (kind, image, largest side or None); None when it has another shape."""
    match given:
        case (str(kind), Image.Image() as image, int() | None as size):
            form = "PNG" if kind.upper() == "PNG" else "JPEG"
            ready = _encode(image, form, None, facts.get("node_id")) if size is None else image
            return None if ready is None else Preview(form, ready, size, facts)
        case _:
            log.warning("a preview is not a kind, an image and a size", node_id=facts.get("node_id"))
            return None


def text_message(node_id: str, text: str) -> bytes:
    """The body of a TEXT message: what a node has to say while it runs."""
    name = node_id.encode(errors="replace")
    return struct.pack(">I", len(name)) + name + text.encode(errors="replace")


def _encode(image: Image.Image, kind: str, size: int | None, node_id: Any) -> bytes | None:
    try:
        return _as_bytes(image, kind, size)
    except (OSError, ValueError, TypeError, AttributeError, MemoryError) as error:
        log.warning("a preview cannot be encoded", node_id=node_id, error=repr(error))
        return None


def _as_bytes(image: Image.Image, kind: str, size: int | None) -> bytes:
    if size is not None:
        side = max(1, min(size, LARGEST_SIDE))
        image = ImageOps.contain(image, (side, side), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    if kind == "PNG":
        image.save(out, format="PNG", compress_level=PNG_LEVEL)
    else:
        image.convert("RGB").save(out, format="JPEG", quality=JPEG_QUALITY)
    return out.getvalue()
