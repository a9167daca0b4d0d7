"""Whether the kernel has killed processes for want of memory. It reads the kernel's counters, and whose process
it was it cannot tell: a SIGKILL that nobody here sent, while the counter rose, is taken for such a kill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_WHOLE_MACHINE = Path("/proc/vmstat")


def sources() -> list[Path]:
    """Files that hold the counter: that of our own control group before that of the whole machine."""
    found: list[Path] = []
    for line in _text(_OWN).splitlines():
        number, controllers, group = (*line.split(":", 2), "", "")[:3]
        inner = group.lstrip("/")
        if number == "0":
            found += [_CGROUPS / inner / "memory.events", _CGROUPS / "memory.events"]
        elif "memory" in controllers.split(","):
            found += [_CGROUPS / "memory" / inner / "memory.oom_control", _CGROUPS / "memory" / "memory.oom_control"]
    return [*found, _WHOLE_MACHINE]


class MemoryKills:
    """A counter that is looked at now and then; `risen` compares with the look before the last."""

    def __init__(self, paths: Sequence[Path] | None = None) -> None:
        candidates = sources() if paths is None else paths
        self._path = next((path for path in candidates if _count(path) is not None), None)
        self._seen: deque[int] = deque(maxlen=2)
        self.look()

    def look(self) -> None:
        """Note the counter as it stands."""
        self._seen.append(self._now())

    def risen(self) -> bool:
        """Whether processes were killed since. The last look may have come between a kill and its being noticed."""
        return self._now() > self._seen[0]

    def _now(self) -> int:
        return (_count(self._path) if self._path is not None else None) or 0


def _count(path: Path) -> int | None:
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdecimal():
            return int(value)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
