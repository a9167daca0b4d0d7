"""What one run is: the prompt, who watches it, how it ended, and what it shares with the runs before and after it.

It executes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from comfy_core.graph.cache import Owner, ResultCache
from comfy_core.graph.dynamic import DynamicPrompt
from comfy_core.graph.node import NodeLibrary, NodeSpec


class Watcher(Protocol):
    """Who is told what happens during a run. Node ids may be of nodes that an expansion added."""

    def cached(self, node_ids: list[str]) -> None:
        """These nodes' results are there already."""

    def started(self, node_id: str) -> None:
        """The node is being called."""

    def progress(self, node_id: str, value: float, maximum: float, preview: Any) -> None:
        """The node says how far it is."""

    def executed(self, node_id: str, ui: dict[str, Any] | None) -> None:
        """The node has something to show."""

    def blocked(self, node_id: str, message: str, executed: list[str]) -> None:
        """The node was not called, because a blocker with a message came to it."""

    def finished(self, node_id: str) -> None:
        """The node's results are there."""


class Run(msgspec.Struct, frozen=True):
    """A validated prompt to execute. outputs: the nodes to run for."""

    prompt_id: str
    prompt: DynamicPrompt
    extra_data: dict[str, Any]
    outputs: list[str]
    interrupted: Callable[[], bool]


class Failure(msgspec.Struct, frozen=True):
    """The node of the client's graph at which a run ended, and why. at: the very node, which may be an added one."""

    node_id: str
    node_type: str
    error: BaseException
    exception_type: str
    traceback: list[str]
    current_inputs: dict[str, Any]
    at: str = ""


class Result(msgspec.Struct):
    """How a run ended. ui: what each node shows. executed: the nodes that were done, in order."""

    status: Literal["success", "error", "interrupted"] = "success"
    failure: Failure | None = None
    executed: list[str] = []
    ui: dict[str, dict[str, Any]] = {}


class NodeObjects:
    """One object per node of a V1 class, kept from prompt to prompt so that its own state survives."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], tuple[Any, Owner | None]] = {}

    def of(self, node_id: str, spec: NodeSpec, owner: Owner | None) -> Any:
        """The node's object; a V3 class stands for itself."""
        if spec.is_v3:
            return spec.cls
        key = (node_id, spec.class_type)
        if key not in self._objects:
            self._objects[key] = (spec.cls(), owner)
        return self._objects[key][0]

    def begin(self, known: Callable[[Owner], bool]) -> None:
        """A prompt starts: drop the objects of nodes it does not have."""
        self._objects = {key: kept for key, kept in self._objects.items() if known(kept[1] or key)}

    def clear(self) -> None:
        """Drop all."""
        self._objects.clear()


class Kept(msgspec.Struct, frozen=True):
    """What a run shares with the runs before and after it. relieve: frees memory after an error; whether to retry."""

    library: NodeLibrary
    cache: ResultCache
    objects: NodeObjects
    relieve: Callable[[BaseException], bool]
