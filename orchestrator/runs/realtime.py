"""The binary frames of the image loop between a client and a workflow that goes on. Pure.

In: little-endian event 0, image type, the input's id padded with spaces, the image. Out: big-endian event 1, image
type, the output's id padded with NULs, the image. A header has 32 bytes both ways.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

HEADER: Final = 32
ID: Final = 24
TYPES: Final[dict[int, str]] = {1: "image/jpeg", 2: "image/png", 3: "image/webp"}
_NUMBERS: Final = {kind: number for number, kind in TYPES.items()}


class Picture(Struct, frozen=True):
    """An image of an input or an output."""

    id: str
    content_type: str
    image: bytes


def read(frame: bytes) -> Picture | None:
    """A client's frame, or None when it is none."""
    event, kind = int.from_bytes(frame[:4], "little"), int.from_bytes(frame[4:8], "little")
    name = frame[8:HEADER].decode("ascii", "replace").strip(" \0")
    if len(frame) <= HEADER or event != 0 or kind not in TYPES or not name:
        return None
    return Picture(name, TYPES[kind], frame[HEADER:])


def write(picture: Picture) -> bytes:
    """A frame for a client; an id that is too long is cut."""
    name = picture.id.encode("ascii", "replace")[:ID].ljust(ID, b"\0")
    kind = _NUMBERS.get(picture.content_type, 1)
    return (1).to_bytes(4, "big") + kind.to_bytes(4, "big") + name + picture.image
