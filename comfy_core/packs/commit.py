"""Which commit a node pack's folder has checked out. It reads git's files and starts no git."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def commit_of(folder: Path) -> str | None:
    """The commit, hexadecimal; None where there is no repository, or one that says nothing that we understand."""
    git = folder / ".git"
    head = _read(git / "HEAD")
    if not head.startswith("ref: "):
        return _commit(head)
    ref = head.removeprefix("ref: ")
    if ".." in ref:
        return None
    return _commit(_read(git / ref)) or _packed(git, ref)


def _packed(git: Path, ref: str) -> str | None:
    lines = _read(git / "packed-refs").splitlines()
    return next((_commit(line.partition(" ")[0]) for line in lines if line.partition(" ")[2] == ref), None)


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
