"""What an executor writes while a run is on it, read from its log file in lines. It knows no run and no link."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

_AT_ONCE = 64_000
_LONGEST = 2_000
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class LogTail:
    """The lines added to a file since this was made. A line that is overwritten in place counts as it was last.

    hide: takes out of a whole line what must not be seen, before the line is cut.
    """

    def __init__(self, path: Path, hide: Callable[[str], str] = str) -> None:
        self._path = path
        self._hide = hide
        self._rest = b""
        self._at = self._size()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self) -> list[str]:
        """The whole lines that were added since the last call; at most some 64 kB, and no line is longer than 2,000."""
        if self._size() < self._at:  # another file took its place
            self._at, self._rest = 0, b""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read(_AT_ONCE)
        except OSError:
            return []
        self._at += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _AT_ONCE:
            lines, self._rest = [*lines, self._rest], b""
        return [self._clean(line) for line in lines]

    def last(self) -> list[str]:
        """What is left: the lines not yet read, and the one that was not finished."""
        lines = self.read()
        rest, self._rest = self._rest, b""
        return [*lines, self._clean(rest)] if rest else lines

    def _clean(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        return self._hide(_UNPRINTABLE.sub("", text))[:_LONGEST]
