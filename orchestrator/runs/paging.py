"""Pages of lists and the cursors between them. Pure.

A cursor is the last id of a page with a short checksum: opaque to clients, refused when it was made up. It grants
nothing, since every list is filtered by organisation.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from orchestrator.errors import FieldError, Invalid
from orchestrator.wire import Page

LARGEST_PAGE = 100


class _HasId(Protocol):
    id: str


Item = TypeVar("Item", bound=_HasId)


def encode_cursor(last_id: str) -> str:
    """The cursor of the page that starts after this id."""
    raw = UUID(last_id).bytes
    return base64.urlsafe_b64encode(raw + _checksum(raw)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> UUID | None:
    """The id a page starts after. Raises Invalid."""
    if not cursor:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if len(data) != 18 or _checksum(data[:16]) != data[16:]:
        message = "give the next_cursor of the page before, unchanged"
        raise Invalid(f"cursor: {message}", code="bad_cursor", errors=[FieldError("cursor", message, "bad_cursor")])
    return UUID(bytes=data[:16])


def page_of(items: Sequence[Item], limit: int) -> Page[Item]:
    """One page from limit + 1 items asked for."""
    if len(items) <= limit:
        return Page(list(items))
    kept = list(items[:limit])
    return Page(kept, encode_cursor(kept[-1].id))


def _checksum(raw: bytes) -> bytes:
    return (zlib.crc32(b"cursor" + raw) & 0xFFFF).to_bytes(2, "big")
