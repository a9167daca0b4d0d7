"""Names of ComfyUI that packs import, subclass and patch, and that do nothing here: each says so when it is called.

They stand for nodes that come with the diffusion models, and for insides of ComfyUI's executor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from comfy_core.errors import NotOffered
from comfy_core.offered.later import function


def inside_function(name: str) -> Callable[..., NoReturn]:
    """A function of ComfyUI's executor that this one does not have. Raises NotOffered."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NotOffered(f"{name} belongs to the insides of ComfyUI's executor, which comfy_core does not have")

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse


def inside_class(name: str) -> type:
    """A class of ComfyUI's executor: it can be subclassed and patched, and raises NotOffered when it is made."""
    return type(name.rpartition(".")[2], (), {"__init__": inside_function(name)})


def later_node(name: str, method: str) -> type:
    """A node class whose method raises NotOffered; a subclass that overrides method and INPUT_TYPES works."""
    refuse = function("nodes", name)
    members = {
        "INPUT_TYPES": classmethod(refuse),
        "RETURN_TYPES": (),
        "FUNCTION": method,
        "CATEGORY": "",
        method: refuse,
    }
    return type(name, (), {**members, "__module__": "nodes"})
