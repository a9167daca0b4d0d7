"""A prompt that grows while it runs: the nodes a client sent, and those that nodes have added. It executes nothing.

Every added node has a parent (the node whose expansion made it), a display id (the node that lights up in the user
interface) and a real id (the node of the client's own graph that it comes from).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfy_core.errors import GraphFault


class NodeNotFoundError(GraphFault):
    """There is no node with this id."""


class DynamicPrompt(Mapping[str, Any]):
    """node id -> {class_type, inputs}. Hidden input DYNPROMPT."""

    def __init__(self, original: dict[str, Any]) -> None:
        self.original_prompt = original
        self._added: dict[str, Any] = {}
        self._parents: dict[str, str] = {}
        self._shown_as: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._depths: dict[str, int] = {}

    def __getitem__(self, node_id: str) -> Any:
        node = self.original_prompt.get(node_id)
        if node is None:
            node = self._added.get(node_id)
        if node is None:
            raise NodeNotFoundError(f"there is no node {node_id}")
        return node

    def __iter__(self) -> Iterator[str]:
        yield from self.original_prompt
        yield from self._added

    def __len__(self) -> int:
        return len(self.original_prompt) + len(self._added)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._added or node_id in self.original_prompt

    def get_node(self, node_id: str) -> Any:
        """The node as it stands in the graph. Raises NodeNotFoundError."""
        return self[node_id]

    def has_node(self, node_id: str) -> bool:
        """Whether the graph has this node."""
        return node_id in self

    def add_ephemeral_node(self, node_id: str, node: Any, parent_id: str, display_id: str) -> None:
        """Take in a node made by an expansion. Raises GraphFault when its id is taken."""
        if node_id in self:
            raise GraphFault(f"an expansion of node {parent_id} adds node {node_id}, which is there already")
        self._added[node_id] = node
        self._parents[node_id] = parent_id
        self._shown_as[node_id] = display_id
        self._real[node_id] = self.get_real_node_id(parent_id)
        self._depths[node_id] = self.depth(parent_id) + 1

    @property
    def added(self) -> int:
        """How many nodes expansions have added."""
        return len(self._added)

    def depth(self, node_id: str) -> int:
        """How many expansions lie between the client's graph and this node; 0 for a node the client sent."""
        return self._depths.get(node_id, 0)

    def get_real_node_id(self, node_id: str) -> str:
        """The node of the client's graph this one comes from."""
        return self._real.get(node_id, node_id)

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node whose expansion made this one; None for a node the client sent."""
        return self._parents.get(node_id)

    def get_display_node_id(self, node_id: str) -> str:
        """The node that shows for this one; displays of displays are followed up, circles to where they close."""
        passed: dict[str, None] = {}
        while node_id in self._shown_as and node_id not in passed:
            passed[node_id] = None
            node_id = self._shown_as[node_id]
        for one in passed:  # so that the next time the way is short, however deep the node lies
            self._shown_as[one] = node_id
        return node_id

    def all_node_ids(self) -> set[str]:
        """Every node id, the added ones included."""
        return set(self.original_prompt) | set(self._added)

    def get_original_prompt(self) -> dict[str, Any]:
        """The nodes the client sent."""
        return self.original_prompt
