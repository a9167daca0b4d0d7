"""Which prompts take so little that to hand them to the worker's thread would take longer than to run them.

A built-in class says it of itself, in its LIGHT; a pack's class that inherits from one says nothing by that.
It executes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfy_core.graph.prompt import inputs_of

NODES_AT_MOST = 16
"""Of a light prompt: they run one after another, and meanwhile the server does nothing else."""
Light = Callable[[Mapping[str, Any]], bool]
"""Whether a call with these inputs, links among them, takes tens of microseconds when what it is handed is light."""


def always(_: Mapping[str, Any]) -> bool:
    """Light whatever the inputs are."""
    return True


def is_light(prompt: Mapping[str, Any], library: Mapping[str, type]) -> bool:
    """Whether a validated prompt has few nodes, each of them light. What no output needs may be of any shape still."""
    if len(prompt) > NODES_AT_MOST:
        return False
    for node_id, node in prompt.items():
        cls = library.get(node["class_type"])
        light: Light | None = vars(cls).get("LIGHT") if cls is not None else None
        if light is None or not light(inputs_of(prompt, node_id)):
            return False
    return True
