"""What is loaded and what must go. It knows models by file and device memory by bytes, not what models do."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil
import torch

from comfy_core.errors import OutOfMemory

Model = TypeVar("Model")
Key = tuple[str, int, int]
"""Path, time of change in nanoseconds, size: a file that is replaced is another model."""

GIB = 1 << 30
LEFT_FREE = GIB // 4
"""Bytes of main memory no single tensor may eat into."""


class Memory(Generic[Model]):
    """Loaded models by file, the most recently used last, and the device they run on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._loaded: OrderedDict[Key, Model] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._loaded)

    def load(self, path: Path, read: Callable[[Path], Model]) -> Model:
        """The model of this file, read at most once per version of the file."""
        facts = path.stat()
        key = (str(path), facts.st_mtime_ns, facts.st_size)
        with self._lock:
            if key not in self._loaded:
                for old in [known for known in self._loaded if known[0] == key[0]]:
                    del self._loaded[old]
                self._loaded[key] = read(path)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def unload(self) -> None:
        """Drop every model."""
        with self._lock:
            self._loaded.clear()
        self.collect()

    def collect(self) -> None:
        """Give freed memory back to the device."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def require(count: int, what: str) -> None:
    """Raise OutOfMemory unless `count` bytes of main memory are free: a refusal in place of a killed process."""
    free = psutil.virtual_memory().available - LEFT_FREE
    if count > free:
        raise OutOfMemory(f"{what} needs {count / GIB:.1f} GiB of memory and {max(free, 0) / GIB:.1f} GiB are free")


def free_of(device: torch.device) -> tuple[int, int]:
    """(free, total) bytes of a device's memory; main memory for the CPU."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    facts: Any = psutil.virtual_memory()
    return int(facts.available), int(facts.total)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this exception says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
