"""Models that packs loaded by themselves, shown to the executor's Memory so that it moves and counts them too."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch

from comfy_core.memory import Memory


class Resident:
    """A module of a pack's as Memory sees it. It has no file, so it can be moved and not dropped."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = weakref.ref(module)

    def tensors(self) -> Iterable[torch.Tensor]:
        """Its parameters and buffers; none once the pack has let it go."""
        module = self._module()
        return () if module is None else (*module.parameters(), *module.buffers())

    def to(self, device: torch.device) -> None:
        """Move every tensor."""
        module = self._module()
        if module is not None:
            module.to(device)

    def shed(self) -> bool:
        """There is no file to read it from again."""
        return False


_KNOWN: weakref.WeakKeyDictionary[torch.nn.Module, Resident] = weakref.WeakKeyDictionary()


def load(memory: Memory, models: Iterable[Any]) -> None:
    """Bring models to the device: modules, or what has one under `.model`. Others are left as they are."""
    for model in models:
        module = model if isinstance(model, torch.nn.Module) else getattr(model, "model", None)
        if isinstance(module, torch.nn.Module):
            with memory.use(_KNOWN.setdefault(module, Resident(module))):
                pass


def loaded() -> list[torch.nn.Module]:
    """The modules that packs have had loaded and still hold."""
    return list(_KNOWN)
