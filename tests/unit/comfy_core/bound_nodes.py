"""Built-in nodes bound to folders of their own, called as the engine calls them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from comfy_core.folders import Folders, standard_models
from comfy_core.memory import Memory
from comfy_core.nodes import built_in
from comfy_core.registry import Registry, Services
from comfy_core.v3.io import ComfyNode


def nodes_in(base: Path, *, metadata: bool = True) -> Registry:
    """Every built-in node over fresh folders."""
    folders = Folders(base, base / "input", base / "output", base / "temp", standard_models([base / "models"], base))
    folders.prepare()
    return built_in(Services(folders, Memory(torch.device("cpu")), metadata))


@cache
def _without_files() -> Registry:
    """For nodes that touch no file: their folders do not exist."""
    nowhere = Path("/nonexistent")
    folders = Folders(nowhere, nowhere, nowhere, nowhere, standard_models([nowhere], nowhere))
    return built_in(Services(folders, Memory(torch.device("cpu"))))


def call(name: str, registry: Registry | None = None, hidden: Mapping[str, Any] | None = None, **inputs: Any) -> Any:
    """What a node returns: the values as a tuple, or the dict with `ui`."""
    cls: Any = (registry or _without_files())[name]
    if issubclass(cls, ComfyNode):
        made = getattr(cls.with_hidden(hidden or {}), cls.FUNCTION)(**inputs)
        return {"ui": made.ui} if made.ui else made.args
    return getattr(cls(), cls.FUNCTION)(**inputs, **(hidden or {}))


def one(name: str, **inputs: Any) -> Any:
    """The only value a node returns."""
    (value,) = call(name, **inputs)
    return value


def counting(*shape: int) -> torch.Tensor:
    """0, 1, 2 ... in that shape."""
    count = 1
    for side in shape:
        count *= side
    return torch.arange(count, dtype=torch.float32).reshape(shape)
