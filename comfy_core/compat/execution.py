"""`execution` as node packs import it. Checking prompts and the queue are the executor's own.

The functions with which ComfyUI calls nodes are names only: packs that replace them find them, and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder, is_link
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.validate import validate
from comfy_core.packs.later import NO_INSIDES, later_class, later_function
from comfy_core.packs.prompt_queue import PackQueue as PromptQueue
from comfy_core.queue import HISTORY_AT_MOST as MAXIMUM_HISTORY_SIZE
from comfy_core.queue import SECRETS as SENSITIVE_EXTRA_DATA_KEYS
from comfy_core.surface import attached

__all__ = [
    "MAXIMUM_HISTORY_SIZE",
    "SENSITIVE_EXTRA_DATA_KEYS",
    "CacheSet",
    "CacheType",
    "DynamicPrompt",
    "ExecutionBlocker",
    "ExecutionResult",
    "GraphBuilder",
    "PromptExecutor",
    "PromptQueue",
    "full_type_name",
    "get_input_data",
    "get_output_data",
    "is_link",
    "map_node_over_list",
    "validate_inputs",
    "validate_prompt",
]

CacheSet = later_class("execution.CacheSet", NO_INSIDES)
validate_inputs = later_function("execution.validate_inputs", NO_INSIDES)
get_input_data = later_function("execution.get_input_data", NO_INSIDES)
get_output_data = later_function("execution.get_output_data", NO_INSIDES)
map_node_over_list = later_function("execution.map_node_over_list", NO_INSIDES)
_async_map_node_over_list = later_function("execution._async_map_node_over_list", NO_INSIDES)
execute = later_function("execution.execute", NO_INSIDES)


class ExecutionResult(Enum):
    """How calling a node ended."""

    SUCCESS = 0
    FAILURE = 1
    PENDING = 2


class CacheType(Enum):
    """How long results are kept."""

    CLASSIC = 0
    LRU = 1
    DEPENDENCY_AWARE = 2


class PromptExecutor:
    """A name to patch: prompts are executed by the executor's own engine, which does not come by here."""

    execute = later_function("execution.PromptExecutor.execute", NO_INSIDES)
    execute_async = later_function("execution.PromptExecutor.execute_async", NO_INSIDES)
    reset = later_function("execution.PromptExecutor.reset", NO_INSIDES)
    add_message = later_function("execution.PromptExecutor.add_message", NO_INSIDES)
    handle_execution_error = later_function("execution.PromptExecutor.handle_execution_error", NO_INSIDES)


async def validate_prompt(
    prompt_id: str,
    prompt: dict[str, Any],
    partial_execution_list: Iterable[str] | None = None,
) -> tuple[bool, dict[str, Any] | None, list[str], dict[str, Any]]:
    """(whether it can be queued, the error if not, output nodes to execute, errors by node)."""
    targets = None if partial_execution_list is None else list(partial_execution_list)
    verdict = await validate(prompt, attached().registry, targets)
    return verdict.error is None, verdict.error, verdict.good, verdict.node_errors


def full_type_name(klass: type) -> str:
    """The class's name with its module's, which builtins go without."""
    return klass.__qualname__ if klass.__module__ == "builtins" else f"{klass.__module__}.{klass.__qualname__}"
