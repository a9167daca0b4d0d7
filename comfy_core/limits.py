"""How much memory the executor may hold, and how long models stay where they are. Plain data: it measures nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = 1 << 30

Keep = Literal["as_room_allows", "on_device", "only_on_device", "while_used"]
"""What becomes of a model that is not in use.

as_room_allows: it stays on the device until room is needed (--normalvram)
on_device:      it leaves the device only when memory ran out (--highvram)
only_on_device: the same, and it is dropped instead of moved to main memory (--gpu-only)
while_used:     it goes back to main memory after each use (--lowvram, --novram, --disable-smart-memory)
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes. ram: what the process may hold of main memory; vram: of its device; reserve: left free on the device."""

    ram: int | None = None
    vram: int | None = None
    reserve: int = 0
    keep: Keep = "as_room_allows"


def gigabytes(given: float | None) -> int | None:
    """A flag's gigabytes as bytes."""
    return None if given is None else int(given * GIB)
