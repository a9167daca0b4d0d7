"""Makes the modules that `names.txt` lists and no file has, so that packs can import them. It makes no others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from comfy_core.offered.later import Names, known, rest


class ListedModules(MetaPathFinder, Loader):
    """Asked after all others, so that a file of the name comes first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module that is listed, or the package of one that is."""
        if fullname in known() or any(name.startswith(f"{fullname}.") for name in known()):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give it its names, made when they are first asked for."""
        vars(module)["__getattr__"] = lazily(module.__name__)
        vars(module)["__all__"] = list(known().get(module.__name__, Names()))


def lazily(package: str) -> Callable[[str], Any]:
    """A package's `__getattr__`: its listed names, and its modules, which packs use without importing each."""
    if not any(isinstance(finder, ListedModules) for finder in sys.meta_path):
        sys.meta_path.append(ListedModules())
    listed = rest(package)

    def get(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return listed(name)
        except AttributeError:
            if find_spec(f"{package}.{name}") is None:
                raise
        return import_module(f"{package}.{name}")

    return get
