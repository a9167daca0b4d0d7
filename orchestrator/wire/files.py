"""Files, stored by content."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class File(Struct, omit_defaults=True):
    """A stored file. url is signed and expires."""

    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime
    url: str
