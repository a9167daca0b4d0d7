"""What is loaded, where it lies, and what must go. It knows models by file and by bytes, not what models do.

A model is on the device, in main memory (offloaded), or dropped: then its file is read again when it is next used. What
goes first is what neither the present prompt nor the next one needs, and among those the least recently used. A
model in use never goes.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch

from comfy_core.errors import OutOfMemory
from comfy_core.limits import GIB, Limits
from comfy_core.usage import PeakMeter, Peaks, free_of, give_back, resident

Key = tuple[str, int, int]
"""Path, time of change in nanoseconds, size: a file that is replaced is another model."""
Place = Literal["device", "main", "dropped"]

LEFT_FREE = GIB // 4
"""Bytes of main memory no single tensor may eat into."""
SMALL = 8 << 20
"""Bytes that are always taken to fit."""


class Weights(Protocol):
    """A model as memory sees it: tensors that can be moved about."""

    def tensors(self) -> Iterable[torch.Tensor]:
        """Its parameters and buffers."""

    def to(self, device: torch.device) -> Any:
        """Move every tensor."""

    def shed(self) -> bool:
        """Let go of the tensors, to be read again from their file when next asked for; False when there is none."""


Model = TypeVar("Model", bound=Weights)


@dataclass(frozen=True, slots=True)
class Meters:
    """Where figures come from. device: (free, total) bytes of a device; resident: bytes this process holds."""

    device: Callable[[torch.device], tuple[int, int]] = free_of
    resident: Callable[[], int] = resident


@dataclass(slots=True)
class Held:
    """One model that is known. size: measured bytes of its tensors. pins: how many uses are under way."""

    key: Key
    model: Callable[[], Weights | None]
    size: int = 0
    place: Place = "main"
    pins: int = 0
    used: int = 0


class Memory:
    """Every model that is loaded, and the device that models run on."""

    def __init__(self, device: torch.device, limits: Limits | None = None, meters: Meters | None = None) -> None:
        self.device = device
        self.limits = limits or Limits()
        self._meters = meters or Meters()
        self._known: dict[Key, Held] = {}
        self._strong: dict[Key, Weights] = {}
        self._urgent: dict[str, int] = {}
        self._lock = threading.RLock()
        self._ticks = count(1)
        self._peaks = Peaks()
        self._meter = PeakMeter(device)
        if device.type == "cuda" and self.limits.vram is not None:
            total = self._meters.device(device)[1]
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.limits.vram / total), device)

    def __len__(self) -> int:
        return len(self.held())

    @property
    def peaks(self) -> Peaks:
        """What the last run held at most."""
        return self._peaks

    def held(self) -> list[Held]:
        """The models whose tensors are somewhere, the least recently used first."""
        there = [held for held in list(self._known.values()) if held.place != "dropped"]
        return sorted(there, key=lambda held: held.used)

    def load(self, path: Path, read: Callable[[Path], Model]) -> Model:
        """The model of this file, read at most once per version of the file while somebody holds it."""
        facts = path.stat()
        key = (str(path), facts.st_mtime_ns, facts.st_size)
        with self._lock:
            held = self._known.get(key)
            model: Any = held.model() if held is not None else None
            if held is None or model is None:
                self._forget_other_versions(key)
                self._reserve(facts.st_size, path.name)
                model = read(path)
                held = self._register(key, model)
            held.used = next(self._ticks)
            return model  # type: ignore[no-any-return]

    @contextmanager
    def use(self, model: Model, room: int = 0) -> Iterator[Model]:
        """The model on the device for as long as the block lasts. room: bytes it will need there besides its own.

        Raises OutOfMemory for a model that is larger than the limit set for the device.
        """
        with self._lock:
            held = self._find(model)
            held.pins += 1
        try:
            with self._lock:
                held.used = next(self._ticks)
                self._bring(held, model, room)
            yield model
        finally:
            with self._lock:
                held.pins -= 1
                if self.limits.keep == "while_used" and held.pins == 0:
                    self._offload(held)

    def expect(self, present: Iterable[Path], following: Iterable[Path] = ()) -> None:
        """Say which files the prompt that starts will load, and the one after it: they go last."""
        urgent = {str(path): 1 for path in following}
        urgent.update((str(path), 2) for path in present)
        with self._lock:
            self._urgent = urgent

    def relieve(self, error: BaseException) -> bool:
        """If this error says that memory ran out, make as much room as can be made; whether to try again.

        Models leave the device; main memory is cleared too unless the error says that it was the device's. What we
        refused ourselves is worth another try only when room was made.
        """
        if not is_out_of_memory(error):
            return False
        device_only = isinstance(error, torch.OutOfMemoryError)
        with self._lock:
            moved = [held for held in self._idle("device") if self._offload(held)]
            dropped = [] if device_only and self._on_accelerator else self._drop_all("main")
        self.collect()
        return bool(moved or dropped) or not isinstance(error, OutOfMemory)

    def unload(self) -> None:
        """Drop every model that is not in use; one that has no file goes to main memory."""
        with self._lock:
            for held in list(self._known.values()):
                if not held.pins and not self._drop(held):
                    self._offload(held)
        self.collect()

    def collect(self) -> None:
        """Give freed memory back to the operating system, and to the device."""
        self.collect_main()
        self.collect_device()

    def collect_main(self) -> None:
        """Give freed main memory back to the operating system: milliseconds."""
        gc.collect()
        give_back()

    def collect_device(self) -> None:
        """Give freed memory back to the device; the next run that wants as much waits while it asks for it again."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def reserve(self, count: int, what: str) -> None:
        """Raise OutOfMemory unless so many bytes of main memory are free, or are once idle models are dropped."""
        if count > self.left():
            with self._lock:
                self._reserve(count, what)

    def left(self) -> int:
        """Bytes of main memory that may still be taken: free on the machine and within the limit."""
        free = self._meters.device(torch.device("cpu"))[0] - LEFT_FREE
        return free if self.limits.ram is None else min(free, self.limits.ram - self._meters.resident())

    @contextmanager
    def running(self, measured: bool = True) -> Iterator[None]:
        """A run takes place within: `require` asks this memory, and the run's peaks are measured.

        measured: False for a run that takes next to no memory; its peak is then what is held anyway.
        """
        token = _present.set(self)
        self._meter.start()
        try:
            yield
        finally:
            self._peaks = self._meter.read(measured)
            _present.reset(token)

    @property
    def _on_accelerator(self) -> bool:
        return self.device.type != "cpu"

    def _register(self, key: Key, model: Weights) -> Held:
        held = Held(key, weakref.ref(model, lambda _: self._known.pop(key, None)), measured(model))
        self._known[key] = held
        self._strong[key] = model
        if self.limits.keep == "only_on_device" and self._on_accelerator:
            self._bring(held, model, 0)
        return held

    def _forget_other_versions(self, key: Key) -> None:
        for old in [known for known in self._known if known[0] == key[0]]:
            self._strong.pop(old, None)
            self._known.pop(old, None)

    def _find(self, model: Weights) -> Held:
        """How this model is held. One that came from elsewhere, such as from a pack's own loader, is held weakly."""
        for held in list(self._known.values()):
            if held.model() is model:
                return held
        key = (f"<{type(model).__name__} {id(model)}>", next(self._ticks), 0)
        held = Held(key, weakref.ref(model, lambda _: self._known.pop(key, None)), measured(model))
        self._known[key] = held
        return held

    def _bring(self, held: Held, model: Weights, room: int) -> None:
        if held.place == "dropped":
            self._reserve(held.size, "the model")
            held.place = "main"
            if not held.key[0].startswith("<"):
                self._strong[held.key] = model
        if not self._on_accelerator or held.place == "device":
            model.to(self.device)
            held.size = measured(model) or held.size
            return
        if self.limits.vram is not None and held.size > self.limits.vram:
            raise OutOfMemory(_too_large("the model", held.size, self.limits.vram))
        self._make_room_on_device(held.size + room)
        model.to(self.device)
        held.size = measured(model) or held.size
        held.place = "device"

    def _make_room_on_device(self, needed: int) -> None:
        if self.limits.keep in ("on_device", "only_on_device"):
            return
        short = needed - self._left_on_device()
        for held in self._idle("device"):
            if short <= 0:
                return
            if self._offload(held):
                short -= held.size

    def _left_on_device(self) -> int:
        free = self._meters.device(self.device)[0]
        if self.device.type == "cuda":
            free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        if self.limits.vram is not None:
            taken = sum(held.size for held in list(self._known.values()) if held.place == "device")
            free = min(free, self.limits.vram - taken)
        return free - self.limits.reserve

    def _reserve(self, count: int, what: str) -> None:
        self._make_room(count)
        left = self.left()
        if count > left:
            raise OutOfMemory(_too_large(what, count, left))

    def _make_room(self, needed: int) -> None:
        short = needed - self.left()
        for held in self._idle("main"):
            if short <= 0:
                return
            if self._drop(held):
                short -= held.size

    def _idle(self, place: Place) -> list[Held]:
        """Models there that are not in use, what should go first first."""
        there = [held for held in list(self._known.values()) if held.place == place and not held.pins]
        return sorted(there, key=lambda held: (self._urgent.get(held.key[0], 0), held.used))

    def _offload(self, held: Held) -> bool:
        """From the device to main memory, or dropped where that is not wanted or full."""
        model = held.model()
        if held.place != "device" or model is None:
            return False
        if self.limits.keep == "only_on_device" and self._drop(held):
            return True
        self._make_room(held.size)
        if self.left() < held.size and self._drop(held):
            return True
        model.to(torch.device("cpu"))
        held.place = "main"
        return True

    def _drop(self, held: Held) -> bool:
        model = held.model()
        if model is None or not model.shed():
            return False
        held.place = "dropped"
        self._strong.pop(held.key, None)
        return True

    def _drop_all(self, place: Place) -> list[Held]:
        return [held for held in self._idle(place) if self._drop(held)]


_present: ContextVar[Memory | None] = ContextVar("memory", default=None)
_EVERYWHERE = Memory(torch.device("cpu"))
"""Answers `require` outside of a run: it holds no models and has no limits."""


def measured(model: Weights) -> int:
    """Bytes of a model's tensors, one that is shared counted once."""
    return sum({tensor.data_ptr() or id(tensor): tensor.nbytes for tensor in model.tensors()}.values())


def require(count: int, what: str) -> None:
    """Raise OutOfMemory unless `count` bytes of main memory can be had: a refusal in place of a killed process.

    Within a run models that are not in use are dropped first. What is small is taken to fit unless a limit is set: to
    ask the kernel takes longer than to make it.
    """
    memory = _present.get() or _EVERYWHERE
    if count >= SMALL or memory.limits.ram is not None:
        memory.reserve(count, what)


def _too_large(what: str, needed: int, left: int) -> str:
    return f"{what} needs {needed / GIB:.1f} GiB of memory and {max(left, 0) / GIB:.1f} GiB are free"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this exception says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
