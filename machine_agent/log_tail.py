"""What an executor writes while a run is on it, in lines: read from its log file, or heard. It knows no run."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_AT_ONCE = 64_000
_LONGEST = 2_000
_MOST_WAITING = 2_000
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class LogSource(Protocol):
    """Lines that an executor writes."""

    def read(self) -> list[str]:
        """The whole lines that came since the last call."""

    def last(self) -> list[str]:
        """What is left: the lines not yet read, and the one that was not finished."""


class Lines:
    """Bytes that come in pieces, as lines. A line that is overwritten in place counts as it was last.

    hide: takes out of a whole line what must not be seen, before the line is cut.
    """

    def __init__(self, hide: Callable[[str], str] = str) -> None:
        self._hide = hide
        self._rest = b""

    def take(self, data: bytes) -> list[str]:
        """The lines that are whole with this piece, none longer than 2,000 characters."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _AT_ONCE:
            lines, self._rest = [*lines, self._rest], b""
        return [self._clean(line) for line in lines]

    def end(self) -> list[str]:
        """The line that was not finished, if there is one."""
        rest, self._rest = self._rest, b""
        return [self._clean(rest)] if rest else []

    def _clean(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        return self._hide(_UNPRINTABLE.sub("", text))[:_LONGEST]


class LogTail:
    """The lines added to a file since this was made."""

    def __init__(self, path: Path, hide: Callable[[str], str] = str) -> None:
        self._path = path
        self._hide = hide
        self._lines = Lines(hide)
        self._at = self._size()

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self) -> list[str]:
        """The whole lines that were added since the last call; at most some 64 kB."""
        if self._size() < self._at:  # another file took its place
            self._at, self._lines = 0, Lines(self._hide)
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read(_AT_ONCE)
        except OSError:
            return []
        self._at += len(data)
        return self._lines.take(data)

    def last(self) -> list[str]:
        """What is left: the lines not yet read, and the one that was not finished."""
        return [*self.read(), *self._lines.end()]


class HeardLog:
    """The lines of a log that is elsewhere, as the executor tells of it; the newest, should nobody read them."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)

    def hear(self, text: str) -> None:
        """Another piece of what was written."""
        self._waiting += self._lines.take(text.encode("utf-8", "replace"))

    def read(self) -> list[str]:
        """The whole lines that were heard since the last call."""
        lines = list(self._waiting)
        self._waiting.clear()
        return lines

    def last(self) -> list[str]:
        """What is left: the lines not yet read, and the one that was not finished."""
        return [*self.read(), *self._lines.end()]
