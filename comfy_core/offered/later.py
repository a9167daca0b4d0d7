"""Names that need the diffusion models: they import, can be subclassed and patched, and say so when they are called.

`names.txt` lists them by module, so that a misspelt name still fails. A module of `compat` that has only some of its
names in Python gets the others by `__getattr__ = rest(__name__)`; one that has none is made by `finder`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

from comfy_core.errors import NotOffered
from comfy_core.surface import NotAttached, attached


def refusal(name: str) -> NotOffered:
    """The one error that all of them raise."""
    return NotOffered(f"{name} needs the diffusion models, which this version of comfy_core does not run yet")


@dataclass(slots=True)
class Names:
    """What one module has. kinds: name -> functions, classes, modules or nodes."""

    kinds: dict[str, str] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    enums: dict[str, list[str]] = field(default_factory=dict)
    experimental: set[str] = field(default_factory=set)

    def read(self, line: str) -> None:
        """One line of the list."""
        key, *words = line.split()
        if key == "same":
            for word in words:
                name, _, where = word.partition("=")
                self.same[name] = where
        elif key == "base":
            self.bases[words[0]] = words[1]
        elif key == "experimental":
            self.experimental.update(words)
        elif key in ("methods", "enum"):
            (self.methods if key == "methods" else self.enums).setdefault(words[0], []).extend(words[1:])
        else:
            self.kinds.update(dict.fromkeys(words, key))

    def __iter__(self) -> Iterator[str]:
        return iter((*self.kinds, *self.same, *self.enums))


@cache
def known() -> dict[str, Names]:
    """The list, by module."""
    found: dict[str, Names] = {}
    module = ""
    for line in files(__package__).joinpath("names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            found[module].read(line)
        elif not line.startswith("#"):
            module = line
            found[module] = Names()
    return found


def rest(module: str) -> Callable[[str], Any]:
    """A module's `__getattr__`. What it gives stays in the module, so that what packs patch stays patched."""

    def get(name: str) -> Any:
        made = make(module, name)
        setattr(sys.modules[module], name, made)
        return made

    return get


def make(module: str, name: str) -> Any:
    """The function, class or enumeration of this name. Raises AttributeError for a name the module does not have."""
    names = known().get(module, Names())
    if name in names.enums:
        return Enum(name, [_member(word) for word in names.enums[name]], module=module)
    if name in names.same:
        where, _, what = names.same[name].partition(":")
        return getattr(import_module(where), what)
    kind = names.kinds.get(name)
    if kind is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    if kind == "functions":
        return function(module, name)
    return (_built_in(name) if kind == "nodes" else None) or _made_class(module, name, names, kind)


def _member(word: str) -> tuple[str, int | str]:
    name, _, value = word.partition("=")
    return name, int(value) if value.isdecimal() else value


def function(module: str, name: str) -> Callable[..., Any]:
    """A function that raises NotOffered."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise refusal(f"{module}.{name}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__module__ = module
    return refuse


def _built_in(class_type: str) -> type | None:
    """The built-in node of this name, where this version has it."""
    try:
        return attached().registry.get(class_type)
    except NotAttached:
        return None


def _made_class(module: str, name: str, names: Names, kind: str) -> type:
    """A class whose constructor and methods raise NotOffered; a subclass that overrides them works."""
    base: type = object
    if kind == "modules":
        base = import_module("torch").nn.Module
    elif name in names.bases:
        where, _, what = names.bases[name].partition(":")
        base = getattr(import_module(where), what)
    members: dict[str, Any] = {"__module__": module}
    for method in ("__init__", *names.methods.get(name, ())):
        members[method] = function(module, f"{name}.{method}")
    if name in names.experimental:
        members["EXPERIMENTAL"] = True
    return type(name, (base,), members)
