"""Names of ComfyUI that packs import, subclass and patch, and that do nothing here: each says so when it is called.

They stand for nodes that come with the diffusion models, and for insides of ComfyUI's executor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from comfy_core.errors import NotOffered
from comfy_core.offered.declared import declared
from comfy_core.offered.later import function
from comfy_core.surface import attached


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
    """A node class whose method raises NotOffered and whose interface is there; a subclass that overrides it works."""
    refuse = function("nodes", name)
    members: dict[str, Any] = {"FUNCTION": method, method: refuse, "__module__": "nodes", "RETURN_TYPES": ()}
    known = declared().get(name)
    if known is None:
        return type(name, (), {**members, "INPUT_TYPES": classmethod(refuse), "CATEGORY": ""})
    members |= {
        "INPUT_TYPES": classmethod(lambda _: known.inputs(attached().settings.folders)),
        "RETURN_TYPES": tuple(known.output),
        "CATEGORY": known.category,
    }
    if known.output_name != known.output:
        members["RETURN_NAMES"] = tuple(known.output_name)
    return type(name, (), members)
