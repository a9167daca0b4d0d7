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
from comfy_core.packs.later import inside_class, inside_function
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

CacheSet = inside_class("execution.CacheSet")
validate_inputs = inside_function("execution.validate_inputs")
get_input_data = inside_function("execution.get_input_data")
get_output_data = inside_function("execution.get_output_data")
map_node_over_list = inside_function("execution.map_node_over_list")
_async_map_node_over_list = inside_function("execution._async_map_node_over_list")
execute = inside_function("execution.execute")


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

    execute = inside_function("execution.PromptExecutor.execute")
    execute_async = inside_function("execution.PromptExecutor.execute_async")
    reset = inside_function("execution.PromptExecutor.reset")
    add_message = inside_function("execution.PromptExecutor.add_message")
    handle_execution_error = inside_function("execution.PromptExecutor.handle_execution_error")


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
