"""Which model is where, and what goes when room is short. Models of a declared size on a device of declared room."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from comfy_core.errors import OutOfMemory
from comfy_core.limits import Limits
from comfy_core.memory import LEFT_FREE, Memory, Meters, Weights, is_out_of_memory, require
from comfy_core.usage import PeakMeter

UNIT = 1 << 20
DEVICE = torch.device("meta")  # a real device that holds no bytes: room on it is what the meters say


class Model:
    """A model that is only as large as it says."""

    def __init__(self, units: int = 1, *, from_file: bool = True) -> None:
        self.units, self.from_file = units, from_file
        self.moves: list[str] = []
        self.there = True

    def tensors(self) -> Iterable[torch.Tensor]:
        return [torch.empty(self.units * UNIT, dtype=torch.uint8, device=DEVICE)]

    def to(self, device: torch.device) -> None:
        self.there = True
        self.moves.append(device.type)

    def shed(self) -> bool:
        self.there = not self.from_file
        return self.from_file


class Room:
    """A machine with so many units of device and main memory."""

    def __init__(self, tmp_path: Path, device: int, main: int = 1000, **limits: object) -> None:
        self.folder = tmp_path
        self.device, self.main = device, main
        self.reads: list[str] = []
        self.memory = Memory(DEVICE, Limits(**limits), Meters(self.free, self.resident))

    def _sum(self, place: str) -> int:
        return sum(held.size for held in self.memory.held() if held.place == place) // UNIT

    def free(self, device: torch.device) -> tuple[int, int]:
        if device.type == "cpu":
            return (self.main - self._sum("main")) * UNIT + LEFT_FREE, self.main * UNIT
        return (self.device - self._sum("device")) * UNIT, self.device * UNIT

    def resident(self) -> int:
        return self._sum("main") * UNIT

    def load(self, name: str, units: int = 1) -> Model:
        path = self.folder / name
        if not path.exists():
            path.write_bytes(b"x")

        def read(source: Path) -> Model:
            self.reads.append(source.name)
            return Model(units)

        return self.memory.load(path, read)

    def use(self, name: str, units: int = 1) -> Model:
        model = self.load(name, units)
        with self.memory.use(model):
            assert model.moves[-1] == "meta"
        return model

    def places(self) -> dict[str, str]:
        return {Path(held.key[0]).name: held.place for held in self.memory.held()}


def test_the_least_recently_used_leaves_the_device(tmp_path: Path) -> None:
    """Room for two: the third sends the one used longest ago to main memory; it comes back when used."""
    room = Room(tmp_path, device=2)
    for name in ("a", "b", "a", "c"):
        room.use(name)
    assert room.places() == {"a": "device", "b": "main", "c": "device"}
    room.use("b")
    assert room.places() == {"a": "main", "b": "device", "c": "device"}
    assert room.reads == ["a", "b", "c"]


def test_what_prompts_need_goes_last(tmp_path: Path) -> None:
    """The present prompt's model stays before the next one's, and that before the more recently used."""
    room = Room(tmp_path, device=3)
    for name in ("now", "next", "other"):
        room.use(name)
    room.memory.expect([tmp_path / "now"], [tmp_path / "next"])
    room.use("x")
    assert room.places() == {"now": "device", "next": "device", "other": "main", "x": "device"}
    room.use("y")
    assert room.places()["x"] == "main"
    with room.memory.use(room.load("y")):
        room.use("z")
    assert room.places() == {
        "now": "device", "next": "main", "other": "main", "x": "main", "y": "device", "z": "device",
    }  # fmt: skip


def test_a_model_in_use_stays_even_when_room_is_short(tmp_path: Path) -> None:
    """Two at once on a device for one: neither is taken away under the node that uses it."""
    room = Room(tmp_path, device=1)
    with room.memory.use(room.load("a")), room.memory.use(room.load("b")):
        assert room.places() == {"a": "device", "b": "device"}
        assert not room.memory.relieve(OutOfMemory("refused"))
        assert room.places() == {"a": "device", "b": "device"}


def test_a_full_main_memory_drops_models_which_are_read_again(tmp_path: Path) -> None:
    """One on the device, one offloaded, the third offloaded is dropped; the same object works again when used."""
    room = Room(tmp_path, device=1, main=2)
    first = room.use("a")
    for name in ("b", "c"):
        room.use(name)
    assert room.places() == {"b": "main", "c": "device"}
    assert not first.there
    assert room.load("a") is first  # a cached result still holds it: it is revived, not read into a second one
    with room.memory.use(first):
        assert first.there
    assert room.places()["a"] == "device"


def test_the_limit_on_main_memory_holds(tmp_path: Path) -> None:
    """--ram-limit: models give way, a tensor that does not fit even then is refused in words."""
    room = Room(tmp_path, device=1, ram=3 * UNIT)
    for name in ("a", "b", "c", "d", "e"):
        room.use(name)
    assert list(room.places().values()).count("main") == 2
    with room.memory.running():
        require(2 * UNIT, "a picture")
        assert list(room.places().values()).count("main") == 1
        with pytest.raises(OutOfMemory, match="a picture needs"):
            require(4 * UNIT, "a picture")
    (tmp_path / "large").write_bytes(b"x" * 4 * UNIT)
    with pytest.raises(OutOfMemory, match="large needs"):
        room.load("large")


def test_the_limit_on_device_memory_holds(tmp_path: Path) -> None:
    """--vram-limit and --reserve-vram: less of the device is used than there is; too large a model is refused."""
    room = Room(tmp_path, device=10, vram=2 * UNIT)
    for name in ("a", "b", "c"):
        room.use(name)
    assert room.places() == {"a": "main", "b": "device", "c": "device"}
    with pytest.raises(OutOfMemory, match="the model needs"):
        room.use("large", 3)
    kept = Room(tmp_path, device=3, reserve=2 * UNIT)
    kept.use("a")
    kept.use("b")
    assert kept.places() == {"a": "main", "b": "device"}


@pytest.mark.parametrize(
    ("keep", "places"),
    [
        ("as_room_allows", {"a": "main", "b": "device"}),
        ("on_device", {"a": "device", "b": "device"}),
        ("only_on_device", {"a": "device", "b": "device"}),
        ("while_used", {"a": "main", "b": "main"}),
    ],
)
def test_flags_say_how_long_models_stay(tmp_path: Path, keep: str, places: dict[str, str]) -> None:
    """--normalvram, --highvram, --gpu-only, and --lowvram with its kin."""
    room = Room(tmp_path, device=1, keep=keep)
    room.use("a")
    room.use("b")
    assert room.places() == places


def test_running_out_frees_and_says_whether_it_did(tmp_path: Path) -> None:
    """The device's error offloads, main memory's drops; another error frees nothing, and is not worth another try."""
    room = Room(tmp_path, device=5)
    room.use("a")
    assert not room.memory.relieve(ValueError("x"))
    assert room.memory.relieve(torch.OutOfMemoryError("no room"))
    assert room.places() == {"a": "main"}
    assert room.memory.relieve(OutOfMemory("refused"))
    assert room.places() == {}
    assert not room.memory.relieve(OutOfMemory("refused"))  # nothing is left to be freed
    assert room.memory.relieve(MemoryError())  # others may have let go of some
    only = Room(tmp_path, device=5, keep="only_on_device")
    only.use("a")
    assert only.memory.relieve(torch.OutOfMemoryError("no room"))
    assert only.places() == {}


def test_models_from_elsewhere_are_moved_but_not_owned(tmp_path: Path) -> None:
    """A pack's own model takes part while somebody holds it, is offloaded, never dropped, and then forgotten."""
    room = Room(tmp_path, device=1)
    model: Weights | None = Model(from_file=False)
    assert model is not None
    with room.memory.use(model):
        pass
    room.use("a")
    assert sorted(room.places().values()) == ["device", "main"]
    room.memory.unload()
    assert len(room.memory) == 1
    model = None
    assert len(room.memory) == 0


def test_unloading_drops_everything_that_has_a_file(tmp_path: Path) -> None:
    """/free with unload_models: nothing of a file stays, on the device or off it."""
    room = Room(tmp_path, device=1)
    models = [room.use(name) for name in ("a", "b")]
    room.memory.unload()
    assert room.places() == {}
    assert not any(model.there for model in models)


def test_a_runs_peak_is_measured() -> None:
    """A tensor that is there for a moment shows in the peak, and the next run starts over."""
    memory = Memory(torch.device("cpu"))
    with memory.running():
        before = PeakMeter(memory.device)
        before.start()
        held = before.read().ram
        torch.ones(64 * UNIT // 4).sum()
    first = memory.peaks.ram
    assert first >= held + 60 * UNIT
    with memory.running():
        pass
    assert memory.peaks.ram < first - 30 * UNIT


def test_what_says_that_memory_ran_out() -> None:
    """Python's, torch's and the allocator's words; nothing else."""
    errors = [MemoryError(), torch.OutOfMemoryError("x"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
    assert all(is_out_of_memory(error) for error in errors)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
