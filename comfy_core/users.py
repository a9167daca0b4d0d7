"""The users of one executor, their settings and the folders their files are in. It knows files, not HTTP.

Without --multi-user there is one, called default. Files are written beside and moved into place, so that a reader
never sees half of one.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from comfy_core.errors import InputRefused

log = structlog.get_logger()

DEFAULT = "default"
SETTINGS = "comfy.settings.json"
USERS = "users.json"
LONGEST_NAME = 200


class UnknownUser(InputRefused):
    """Nobody of this name has been added."""


class Users:
    """Who there is. root: the folder that holds one folder for each."""

    def __init__(self, root: Path, several: bool) -> None:
        self.root = root
        self.several = several
        self._lock = threading.Lock()

    def names(self) -> dict[str, str]:
        """Id -> name of those who were added."""
        found = _read(self.root / USERS)
        return {key: str(value) for key, value in found.items() if key == Path(key).name and key not in ("", "..")}

    @property
    def migrated(self) -> bool:
        """Whether the one user has stored something."""
        return (self.root / DEFAULT).is_dir()

    def add(self, name: str) -> str:
        """Add a user; the new id. Raises InputRefused for a name that is taken, empty or too long."""
        name = name.strip()
        if not name or len(name) > LONGEST_NAME:
            raise InputRefused("A username is a text of 1 to 200 characters.")
        with self._lock:
            names = self.names()
            if name in names.values():
                raise InputRefused("Duplicate username.")
            user_id = f"{re.sub('[^a-zA-Z0-9_-]+', '-', name)}_{uuid.uuid4()}"
            write(self.root / USERS, json.dumps(names | {user_id: name}).encode())
            return user_id

    def home(self, user_id: str | None) -> Path:
        """The folder of a user. Raises UnknownUser where there are several and this is none of them."""
        if not self.several:
            return self.root / DEFAULT
        if user_id is None or user_id not in self.names():
            raise UnknownUser("Unknown user")
        return self.root / user_id

    def settings(self, user_id: str | None) -> dict[str, Any]:
        """What a user has set. Raises UnknownUser."""
        return _read(self.home(user_id) / SETTINGS)

    def set(self, user_id: str | None, changes: Mapping[str, Any]) -> None:
        """Set some of it. Raises UnknownUser."""
        path = self.home(user_id) / SETTINGS
        with self._lock:
            write(path, json.dumps(_read(path) | dict(changes), indent=4).encode())


def write(path: Path, content: bytes) -> None:
    """Store a file whole; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        settle(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def settle(written: Path, path: Path) -> None:
    """Move a file that is complete to its place, readable as other files are."""
    written.chmod(0o644)
    written.replace(path)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is none. A damaged one is put aside, so that nothing is lost."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    aside = path.with_name(f"{path.name}.damaged")
    log.warning("a file is not the JSON it should be and is put aside", file=str(path), aside=str(aside))
    path.replace(aside)
    return {}
