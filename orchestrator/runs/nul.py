"""The character U+0000 in JSON: PostgreSQL can store it in no text. Pure.

What people send is refused for it elsewhere; what machines say is taken without it, since it is noise there.
"""

from __future__ import annotations

import re
from typing import Final

_BYTES: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_TEXT: Final = re.compile(_BYTES.pattern.decode())


def without_nul(data: bytes) -> bytes:
    """JSON without U+0000, which it can hold as an escape only: behind an odd number of backslashes."""
    while b"\\u0000" in data and (shorter := _BYTES.sub(rb"\1", data)) != data:
        data = shorter
    return data


def text_without_nul(data: str) -> str:
    """The same of JSON that is text already."""
    while "\\u0000" in data and (shorter := _TEXT.sub(r"\1", data)) != data:
        data = shorter
    return data
