"""Names that packs import and subclass, and that do nothing yet: each says so when it is called.

They stand for what comes with the diffusion models, or for insides of ComfyUI that this executor does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from comfy_core.errors import ExecutorError


class NotHere(ExecutorError):
    """Something was called that this version of the executor cannot do."""


WITH_MODELS = "needs the diffusion models, which this version of comfy_core does not run yet"
NO_INSIDES = "belongs to the insides of ComfyUI's executor, which comfy_core does not have"


def later_function(name: str, why: str) -> Callable[..., NoReturn]:
    """A function that raises NotHere."""

    def refuse(*_args: Any, **_named: Any) -> NoReturn:
        raise NotHere(f"{name} {why}")

    refuse.__name__ = refuse.__qualname__ = name.rpartition(".")[2]
    return refuse


def later_class(name: str, why: str) -> type:
    """A class that can be subclassed and patched, and raises NotHere when it is made."""
    short = name.rpartition(".")[2]
    return type(short, (), {"__init__": later_function(name, why), "__doc__": f"{name} {why}."})


def later_node(name: str, function: str) -> type:
    """A node class without inputs of its own, whose method raises NotHere; subclasses may bring all that is missing."""
    refuse = later_function(f"nodes.{name}", WITH_MODELS)
    members = {
        "INPUT_TYPES": classmethod(later_function(f"nodes.{name}.INPUT_TYPES", WITH_MODELS)),
        "RETURN_TYPES": (),
        "FUNCTION": function,
        "CATEGORY": "",
        function: refuse,
        "__doc__": f"nodes.{name} {WITH_MODELS}.",
    }
    return type(name, (), members)
