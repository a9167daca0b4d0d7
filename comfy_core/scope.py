"""A prompt's own directory: which one it asked for, and the folders that are then its own. It knows paths only.

Within `scoped` the input, output and temp folders are the ones of that name inside the common ones, so that nodes need
not know of it and one prompt's files are out of another's reach.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any

from comfy_core.errors import InputRefused

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_directory: ContextVar[str | None] = ContextVar("directory", default=None)


class scoped:  # noqa: N801 - used as a function is
    """Within, files are read and written in this directory of the input, output and temp folders; None: in themselves.

    Raises InputRefused for a name that is not a plain one.
    """

    __slots__ = ("_token", "_wanted")
    _token: Token[str | None]

    def __init__(self, directory: str | None) -> None:
        if directory is not None and not PLAIN.fullmatch(directory):
            raise InputRefused(f"{directory[:100]!r} is no name for a directory: letters, digits, . _ and - are taken")
        self._wanted = directory

    def __enter__(self) -> None:
        self._token = _directory.set(self._wanted)

    def __exit__(self, *_: object) -> None:
        _directory.reset(self._token)


def present() -> str | None:
    """The directory we are within; None for the common folders."""
    return _directory.get()


def own(root: Path) -> Path:
    """The part of a common folder that we may see."""
    directory = _directory.get()
    return root if directory is None else root / directory


def directory_of(extra_data: Mapping[str, Any]) -> str | None:
    """The directory that a prompt asks for in `extra_data.fleet.directory`. Raises InputRefused when it is no text."""
    asked = extra_data.get("fleet")
    directory = asked.get("directory") if isinstance(asked, dict) else None
    if directory is not None and not isinstance(directory, str):
        raise InputRefused("fleet.directory is not a text")
    return directory
