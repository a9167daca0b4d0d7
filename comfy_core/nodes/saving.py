"""Names for saved files: prefix, tokens, sub-folder and the next free counter. It writes nothing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from comfy_core.errors import InputRefused
from comfy_core.folders import inside

COUNTER = re.compile(r"_(\d+)_?\.[^.]*$")
AWAY = re.compile(r"[/\\\x00]|^\.\.?$")
"""A prefix without any of these is the beginning of a name in the very folder."""
REMEMBERED_AT_MOST = 1000
_remembered: dict[tuple[str, str], tuple[int, int]] = {}
"""(folder, stem) -> time of change of the folder when we left it, in ns, and the next counter: good while nobody else
has changed the folder, so that a folder of thousands of files is not read for each new one."""


@dataclass(slots=True)
class Place:
    """Where the next files of a prefix go. subfolder is relative, as the user interface is told."""

    folder: Path
    stem: str
    subfolder: str
    counter: int

    def next(self, batch_index: int, ending: str = "png") -> tuple[str, Path]:
        """(file name, path) of the next file."""
        name = f"{self.stem.replace('%batch_num%', str(batch_index))}_{self.counter:05}_.{ending}"
        self.counter += 1
        return name, self.folder / name

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        """Everything is written: remember the counter."""
        if len(_remembered) >= REMEMBERED_AT_MOST:
            _remembered.clear()
        _remembered[(str(self.folder), self.stem)] = (self.folder.stat().st_mtime_ns, self.counter)


def place_for(prefix: str, root: Path, width: int = 0, height: int = 0) -> Place:
    """Find the place of a prefix, making its folder. Raises InputRefused when it leads out of root."""
    filled = _fill(prefix, width, height)
    if filled and not AWAY.search(filled):
        return Place(root, filled, "", _next_counter(root, filled, prefix))
    home = root.resolve()
    wanted = inside(home, filled)
    if filled.endswith("/") or wanted == home:
        folder, stem = wanted, ""
    else:
        folder, stem = wanted.parent, wanted.name
    counter = _next_counter(folder, stem, prefix)
    subfolder = folder.relative_to(home).as_posix()
    return Place(folder, stem, "" if subfolder == "." else subfolder, counter)


def _changed(folder: Path) -> int | None:
    """When a folder last changed, in ns; None when it is not there."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _make(folder: Path, prefix: str) -> None:
    if folder.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputRefused(f"cannot save under the prefix {prefix[:200]!r}: {error.strerror}") from error


def _fill(prefix: str, width: int, height: int) -> str:
    if "%" not in prefix:
        return prefix
    now = datetime.now().astimezone()
    tokens = {
        "width": str(width),
        "height": str(height),
        "year": str(now.year),
        "month": f"{now.month:02}",
        "day": f"{now.day:02}",
        "hour": f"{now.hour:02}",
        "minute": f"{now.minute:02}",
        "second": f"{now.second:02}",
    }
    return re.sub(r"%(\w+)%", lambda found: tokens.get(found[1], found[0]), prefix)


def _next_counter(folder: Path, stem: str, prefix: str) -> int:
    """The first number that no file of this stem has. The folder is made if it is not there."""
    known = _remembered.get((str(folder), stem))
    if known is not None and known[0] == _changed(folder):
        return known[1]
    _make(folder, prefix)
    start = f"{stem}_"
    with os.scandir(folder) as entries:
        taken = [
            int(found[1])
            for entry in entries
            if entry.name.startswith(start) and (found := COUNTER.match(entry.name, len(stem)))
        ]
    return max(taken, default=0) + 1
