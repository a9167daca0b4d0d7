"""What part of a content a Range header asks for. Pure."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from orchestrator.errors import ApiProblem

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


class RangeNotSatisfiable(ApiProblem):
    """The range lies outside the file."""

    status, title, code = 416, "Range not satisfiable", "range_not_satisfiable"


class Part(Struct, frozen=True):
    """What of a file is asked for: bytes from start to before end."""

    start: int
    end: int
    partial: bool


def wanted_part(header: str | None, size: int) -> Part:
    """A Range header's single range. Raises RangeNotSatisfiable; anything but one range of bytes means the whole."""
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.group(0) == "bytes=-":
        return Part(0, size, partial=False)
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if start >= end or start >= size:
        raise RangeNotSatisfiable(f"the file has {size} bytes")
    return Part(start, end, partial=True)
