"""How much memory is in use and was in use at most. It measures; what is done about it is decided elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import torch

PAGE = os.sysconf("SC_PAGE_SIZE")
KIB = 1024
STATM, STATUS, CLEAR = Path("/proc/self/statm"), Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = b"5"
LOOK_EVERY_S = 0.1
HIDING = 128 << 20
"""Bytes under an old peak that are worth a reset."""
_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
BRIEF_S = 0.002
"""A run that ends sooner can have touched but a few megabytes; asking the kernel would take a tenth of its time."""


def resident() -> int:
    """Bytes of main memory this process holds now."""
    try:
        with open(STATM, "rb", buffering=0) as file:  # noqa: PTH123 - read twice for every prompt
            return int(file.read().split()[1]) * PAGE
    except OSError:
        return int(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Have the allocator return what is free, which it would keep for the next time. glibc only."""
    if _trim is not None:
        _trim(0)


def free_of(device: torch.device) -> tuple[int, int]:
    """(free, total) bytes of a device's memory; main memory for anything but CUDA."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    facts: Any = psutil.virtual_memory()
    return int(facts.available), int(facts.total)


def held_by(values: Any) -> int:
    """Bytes of main memory in the tensors within a node's results, however they are nested."""
    held, todo = 0, [values]
    while todo:
        value = todo.pop()
        if isinstance(value, torch.Tensor):
            held += value.nbytes if value.device.type == "cpu" else 0
        elif isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list | tuple):
            todo.extend(value)
    return held


class Peaks(msgspec.Struct, frozen=True):
    """The most memory held at once during a run, in bytes. vram is 0 without a GPU."""

    ram: int = 0
    vram: int = 0


class PeakMeter:
    """The peaks between `start` and `read`.

    The peak of the whole process's life counts if it rose in between, else the larger of both ends. Where it is far
    above what is held now, so that a peak could hide under it, Linux is told to start over; that costs too much to do
    for every small prompt.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._resets = False
        self._first = 0
        self._life = 0
        self._looked = self._began = -LOOK_EVERY_S

    def start(self) -> None:
        """Begin to measure. What was held at most 0.1 s ago counts as what is held now."""
        self._began = time.monotonic()
        if self._began > self._looked + LOOK_EVERY_S:
            self._first, self._life, self._looked = resident(), _highest_of_life(), self._began
        self._resets = self._life - self._first > HIDING and _reset_highest()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def read(self, measured: bool = True) -> Peaks:
        """The peaks since `start`; of main memory, unless `measured`, what was held then."""
        vram = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else 0
        return Peaks(self._ram() if measured else self._first, vram)

    def _ram(self) -> int:
        now = time.monotonic()
        if now < self._began + BRIEF_S:
            return self._first
        before, self._first, self._looked = self._first, resident(), now
        highest = _highest_since_reset() if self._resets else 0
        before_life, self._life = self._life, _highest_of_life()
        if highest:
            return highest
        return self._life if self._life > before_life else max(before, self._first)


def _reset_highest() -> bool:
    with contextlib.suppress(OSError):
        CLEAR.write_bytes(RESET_PEAK)
        return True
    return False


def _highest_since_reset() -> int:
    with contextlib.suppress(OSError):
        for line in STATUS.read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * KIB
    return 0


def _highest_of_life() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
