"""The prompt while it runs, and what can be wrong with it. How ComfyUI orders nodes is not part of it."""

from __future__ import annotations

from typing import Any

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import is_link
from comfy_core.graph.dynamic import DynamicPrompt, NodeNotFoundError
from comfy_core.graph.execution import DependencyCycle as DependencyCycleError
from comfy_core.packs.later import inside_class

__all__ = [
    "DependencyCycleError",
    "DynamicPrompt",
    "ExecutionBlocker",
    "ExecutionList",
    "NodeInputError",
    "NodeNotFoundError",
    "TopologicalSort",
    "get_input_info",
    "is_link",
]

TopologicalSort = inside_class("comfy_execution.graph.TopologicalSort")
ExecutionList = inside_class("comfy_execution.graph.ExecutionList")


class NodeInputError(Exception):
    """An input that a node cannot use."""


def get_input_info(
    class_def: Any, input_name: str, valid_inputs: dict[str, Any] | None = None
) -> tuple[Any, str | None, dict[str, Any] | None]:
    """(type, group, options) of a declared input; three times None for one that is not declared."""
    declared = class_def.INPUT_TYPES() if valid_inputs is None else valid_inputs
    for group in ("required", "optional", "hidden"):
        found = declared.get(group, {}).get(input_name)
        if found is None:
            continue
        config = found if isinstance(found, tuple | list) else (found,)
        return config[0], group, dict(config[1]) if len(config) > 1 else {}
    return None, None, None
