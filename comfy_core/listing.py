"""The files below a folder, remembered until a folder changes. It knows no kinds of models.

Model folders hold thousands of files on slow disks and are asked for with every description of a node, so a listing
is kept with the times of change of all folders it went through; a file that comes or goes changes its folder's time.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

SKIPPED = frozenset({".git"})


@dataclass(slots=True)
class Listing:
    """Names relative to the root, with /, and the time of change of each folder on the way."""

    names: list[str] = field(default_factory=list)
    folders: dict[str, float] = field(default_factory=dict)

    def still_true(self) -> bool:
        """Whether no folder has changed since."""
        return all(_changed(folder) == time for folder, time in self.folders.items())


class Listings:
    """Listings by root. Safe to use from any thread."""

    def __init__(self) -> None:
        self._known: dict[str, Listing] = {}
        self._lock = threading.Lock()

    def below(self, root: str) -> Listing:
        """All files below root, links followed; empty when there is no such folder."""
        with self._lock:
            known = self._known.get(root)
        if known is None or not known.still_true():
            known = scan(root)
            with self._lock:
                self._known[root] = known
        return known


def scan(root: str) -> Listing:
    """Read a folder and all below it from the disk. A folder that is reached twice, as through a link, is read once."""
    listing, seen = Listing(), set[str]()
    waiting = [("", root)]
    while waiting:
        prefix, folder = waiting.pop()
        real = os.path.realpath(folder)
        listing.folders[folder] = _changed(folder)
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(folder):
            if entry.is_dir():
                if entry.name not in SKIPPED:
                    waiting.append((f"{prefix}{entry.name}/", entry.path))
            else:
                listing.names.append(f"{prefix}{entry.name}")
    listing.names.sort()
    return listing


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _changed(folder: str) -> float:
    """The time of change; 0 for a folder that is not there."""
    try:
        return Path(folder).stat().st_mtime
    except OSError:
        return 0.0
