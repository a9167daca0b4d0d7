"""Weights files read and written, and mappings of name to tensor changed. It knows no architectures.

Files are read in the safe way only: one whose pickle asks for anything but tensors and plain values is refused.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

State = dict[str, Any]
SAFE_ENDINGS = (".safetensors", ".sft")


def load(
    ckpt: str, safe_load: bool = False, device: Any = None, return_metadata: bool = False
) -> State | tuple[State, dict[str, str] | None]:
    """The tensors of a file, on the CPU when no device is given; with their metadata (None for pickles) when asked.

    Reading is always safe, whatever safe_load says. Raises OSError, and what safetensors and torch raise for a file
    that is damaged or holds other things.
    """
    place = torch.device("cpu") if device is None else torch.device(device)
    if Path(ckpt).suffix.lower() in SAFE_ENDINGS:
        state, metadata = _read_safetensors(ckpt, place)
    else:
        state, metadata = _plain(torch.load(ckpt, map_location=place, weights_only=True)), None
    return (state, metadata) if return_metadata else state


def _read_safetensors(path: str, device: torch.device) -> tuple[State, dict[str, str] | None]:
    with safetensors.safe_open(path, framework="pt", device=str(device)) as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118 - no mapping


def _plain(read: Any) -> State:
    """A training program's checkpoint holds its tensors under `state_dict`, or under a single name of its own."""
    if "state_dict" in read:
        read = read["state_dict"]
    elif len(read) == 1 and isinstance(only := next(iter(read.values())), dict):
        read = only
    state: State = read
    return state


def save(sd: Mapping[str, torch.Tensor], ckpt: str, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as a safetensors file."""
    safetensors.torch.save_file(dict(sd), ckpt, metadata=metadata)


def header(safetensors_path: str, max_size: int = 100 * 1024 * 1024) -> bytes | None:
    """The JSON at the head of a safetensors file; None when it is longer than max_size."""
    with Path(safetensors_path).open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        return opened.read(length) if length <= max_size else None


def facts(safetensors_path: str) -> dict[str, Any]:
    """The parsed head of a safetensors file. Raises ValueError for what is none."""
    read = header(safetensors_path)
    if read is None:
        raise ValueError(f"{safetensors_path} has no head that can be read")
    parsed: dict[str, Any] = json.loads(read)
    return parsed


def count(sd: Mapping[str, torch.Tensor], prefix: str = "") -> int:
    """Numbers in all tensors whose names begin with prefix."""
    return sum(tensor.nelement() for name, tensor in sd.items() if name.startswith(prefix))


def main_dtype(sd: Mapping[str, torch.Tensor], prefix: str = "") -> torch.dtype | None:
    """The type most of the numbers have; None when there are none."""
    numbers: Counter[torch.dtype] = Counter()
    for name, tensor in sd.items():
        if name.startswith(prefix):
            numbers[tensor.dtype] += tensor.numel()
    return numbers.most_common(1)[0][0] if numbers else None


def convert(sd: State, dtype: torch.dtype) -> State:
    """Every tensor in this type, in place."""
    for name in sd:
        sd[name] = sd[name].to(dtype)
    return sd


def replace_prefixes(state_dict: State, replace_prefix: Mapping[str, str], filter_keys: bool = False) -> State:
    """Move tensors whose names begin with a prefix to the name with its replacement, in place.

    filter_keys: into a new mapping, which holds those only.
    """
    into: State = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for name in [name for name in state_dict if name.startswith(old)]:
            into[f"{new}{name.removeprefix(old)}"] = state_dict.pop(name)
    return into


def replace_names(state_dict: State, keys_to_replace: Mapping[str, str]) -> State:
    """Move tensors to new names, in place; names that are not there are passed over."""
    for old, new in keys_to_replace.items():
        if old in state_dict:
            state_dict[new] = state_dict.pop(old)
    return state_dict
