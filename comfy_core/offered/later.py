"""Names that need the diffusion models: they import, can be subclassed and patched, and say so when they are called.

A module of `compat` gives `names(...)` the functions and classes it has, as text, so that a misspelt name still fails:

    __getattr__ = names(__name__, functions="load_checkpoint", classes="VAE(decode encode) CLIP")

A class may list its methods, which packs read off it to wrap them, and a base in square brackets:
`Linear[torch.nn:Module]`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from comfy_core.errors import NotOffered

CLASS = re.compile(r"(\w+)(?:\[([\w.:]+)\])?(?:\(([^)]*)\))?")


def refusal(name: str) -> NotOffered:
    """The one error that all of them raise."""
    return NotOffered(f"{name} needs the diffusion models, which this version of comfy_core does not run yet")


def function(module: str, name: str) -> Callable[..., Any]:
    """A function that raises NotOffered."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise refusal(f"{module}.{name}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__module__ = module
    return refuse


def made_class(module: str, name: str, base: type = object, methods: tuple[str, ...] = ()) -> type:
    """A class whose constructor and methods raise NotOffered; a subclass that overrides them works."""
    members = {method: function(module, f"{name}.{method}") for method in ("__init__", *methods)}
    return type(name, (base,), {**members, "__module__": module})


def names(module: str, functions: str = "", classes: str = "", values: dict[str, Any] | None = None) -> Any:
    """A module's `__getattr__` for these names. Each is made when first asked for and stays, so that patches stay."""
    known_functions = set(functions.split())
    known_classes = {found[1]: found for found in CLASS.finditer(classes)}

    def get(name: str) -> Any:
        if name in known_functions:
            made: Any = function(module, name)
        elif name in known_classes:
            made = _class_of(module, known_classes[name])
        elif values is not None and name in values:
            made = values[name]
        else:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        setattr(sys.modules[module], name, made)
        return made

    return get


def _class_of(module: str, found: re.Match[str]) -> type:
    name, base, methods = found.groups()
    return made_class(module, name, _base(module, base), tuple((methods or "").split()))


def _base(module: str, base: str | None) -> type:
    """`module:Class`, or a class of the same module; none: object."""
    if base is None:
        return object
    where, _, what = base.rpartition(":")
    named: type = getattr(import_module(where or module), what)
    return named
