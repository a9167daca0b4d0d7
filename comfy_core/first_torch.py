"""Imports torch as the process starts: what a prompt needs first, the rest by the worker once the port is open.

A fifth of torch's import are Python kernels for `meta` tensors, which only torch's compiler and tools that lay models
out without weights use. Until `complete` a module stands in for them that imports them as soon as it is looked into;
node packs are imported after `complete`. While modules are made there is next to no garbage, so none is looked for.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

LATER = "torch._meta_registrations"


class _Later(ModuleType):
    """Stands for a module of torch's that is not imported yet."""

    def __getattr__(self, name: str) -> Any:
        """The module is needed after all."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(complete(), name)


def begin() -> None:
    """Import torch, unless somebody did before."""
    gc.disable()
    if "torch" in sys.modules:
        return
    sys.modules[LATER] = _Later(LATER)
    import_module("torch")


def complete() -> ModuleType:
    """Import the rest, once."""
    if isinstance(sys.modules.get(LATER), _Later):
        del sys.modules[LATER]
    package, _, name = LATER.rpartition(".")
    module = import_module(LATER)
    setattr(sys.modules[package], name, module)
    return module


def settle() -> None:
    """What was made until now stays: no collection need look at it again."""
    gc.freeze()
    gc.enable()
