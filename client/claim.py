"""Who runs the fleet of a data folder: a lock held for as long as it runs, and the process id to ask it to end.

It does not know what runs.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from client.errors import SetupProblem


class Claim:
    """The data folder's `up.pid`, locked while the process that runs the fleet lives (the kernel frees it)."""

    def __init__(self, data: Path) -> None:
        self.path = data / "up.pid"
        self._handle = -1

    def __enter__(self) -> Self:
        """Takes the folder. Raises SetupProblem when a fleet runs on it already."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SetupProblem(
                f"{self.path.parent} cannot be written ({error.strerror}): choose another folder with DATA="
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise SetupProblem(
                f"a fleet runs on {self.path.parent} already (process {read_pid(self.path)}): "
                "`make down` ends it, DATA= chooses another folder"
            ) from error
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


def is_held(path: Path) -> bool:
    """Whether a living process holds the claim."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def read_pid(path: Path) -> int:
    """The process that wrote the claim; 0 when it cannot be told."""
    try:
        return int(path.read_text().strip() or 0)
    except (OSError, ValueError):
        return 0


def end_fleet(data: Path, patience_s: float = 60.0) -> bool:
    """Asks the fleet on a data folder to end and waits until it has. False when none runs."""
    path = data / "up.pid"
    pid = read_pid(path)
    if not is_held(path) or pid <= 0:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while is_held(path):
        if time.monotonic() > deadline:
            raise SetupProblem(f"the fleet on {data} (process {pid}) has not ended within {patience_s:g} s")
        time.sleep(0.05)
    return True
