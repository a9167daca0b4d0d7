"""What packs know as `comfy`. Sub-modules come when they are named: packs say `import comfy` and then `comfy.utils`."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module 'comfy' has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
