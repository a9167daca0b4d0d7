"""A content-addressed cache of input files on disk, with a size limit. It does not know where files come from."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from pathlib import Path

import structlog

_log = structlog.get_logger()


class Cache:
    """Files under directory/<aa>/<sha256>. The least recently used go first when `limit` bytes are passed."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._pinned: Counter[str] = Counter()
        self._incoming = directory / "incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def find(self, sha256: str) -> Path | None:
        """The file with that content, marked as used now."""
        path = self._path(sha256)
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def incoming(self, name: str) -> Path:
        """Where to write a file that is not complete yet."""
        return self._incoming / name

    def adopt(self, incoming: Path, sha256: str) -> Path:
        """Take a complete, verified file into the cache."""
        path = self._path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(path)
        return path

    def pin(self, sha256: str) -> None:
        """Keep a file while it is in use, however full the cache is."""
        self._pinned[sha256] += 1

    def unpin(self, sha256: str) -> None:
        """Undo one pin."""
        self._pinned[sha256] -= 1
        if self._pinned[sha256] <= 0:
            del self._pinned[sha256]

    async def trim(self) -> None:
        """Delete what has not been used for longest until the limit holds."""
        removed = await asyncio.to_thread(self._trim, frozenset(self._pinned))
        if removed:
            _log.info("cache_trimmed", files=removed)

    def _path(self, sha256: str) -> Path:
        return self._directory / sha256[:2] / sha256

    def _trim(self, pinned: frozenset[str]) -> int:
        files = [(path.stat(), path) for path in self._directory.glob("??/*")]
        size = sum(stat.st_size for stat, _ in files)
        removed = 0
        for stat, path in sorted(files, key=lambda item: item[0].st_mtime_ns):
            if size <= self._limit:
                break
            if path.name not in pinned:
                path.unlink(missing_ok=True)
                size -= stat.st_size
                removed += 1
        return removed
