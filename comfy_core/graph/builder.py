"""Building graphs in a node's code, for an expansion. It knows no node classes.

Ids are made unique by a prefix: the running node's id, the index of the call within it, and a count per call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from comfy_core.progress import scope

Link = list[Any]


def is_link(value: object) -> bool:
    """Whether a value of a graph under construction is `[node id, slot]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], int | float)


class Node:
    """One node under construction. inputs: constants and links, by name."""

    def __init__(self, node_id: str, class_type: str, inputs: dict[str, Any]) -> None:
        self.id = node_id
        self.class_type = class_type
        self.inputs = inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> Link:
        """A link to one of the outputs."""
        return [self.id, index]

    def set_input(self, key: str, value: Any) -> None:
        """Set an input; None takes it away."""
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> Any:
        """An input, or None."""
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str) -> None:
        """Let another node light up when this one runs."""
        self.override_display_id = override_display_id

    def serialize(self) -> dict[str, Any]:
        """The node as API-format JSON."""
        written = {"class_type": self.class_type, "inputs": self.inputs}
        return (
            written if self.override_display_id is None else written | {"override_display_id": self.override_display_id}
        )


class GraphBuilder:
    """Nodes under construction, by id. prefix: what the ids begin with; the running node's own by default."""

    _default_prefix_root = ""
    _default_prefix_call_index = 0
    _default_prefix_graph_index = 0

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = self.alloc_prefix() if prefix is None else prefix
        self.nodes: dict[str, Node] = {}
        self.id_gen = 1

    @classmethod
    def set_default_prefix(cls, prefix_root: str, call_index: int, graph_index: int = 0) -> None:
        """Choose the prefix for builders made outside a node's call."""
        cls._default_prefix_root = prefix_root
        cls._default_prefix_call_index = call_index
        cls._default_prefix_graph_index = graph_index

    @classmethod
    def alloc_prefix(
        cls, root: str | None = None, call_index: int | None = None, graph_index: int | None = None
    ) -> str:
        """The next unused prefix, `<node id>.<call>.<graph>.`."""
        current = scope.get()
        if root is None and current is not None:
            return f"{current.node_id}.{current.call}.{current.next_graph()}."
        chosen = cls._default_prefix_root if root is None else root
        call = cls._default_prefix_call_index if call_index is None else call_index
        graph = cls._default_prefix_graph_index if graph_index is None else graph_index
        cls._default_prefix_graph_index += 1
        return f"{chosen}.{call}.{graph}."

    def node(self, class_type: str, id: str | None = None, **kwargs: Any) -> Node:  # noqa: A002 - the field's name
        """Add a node, or take the one with this id."""
        if id is None:
            id = str(self.id_gen)  # noqa: A001 - as above
            self.id_gen += 1
        full = self.prefix + id
        if full not in self.nodes:
            self.nodes[full] = Node(full, class_type, kwargs)
        return self.nodes[full]

    def lookup_node(self, id: str) -> Node | None:  # noqa: A002 - the field's name
        """The node with this id, without the prefix."""
        return self.nodes.get(self.prefix + id)

    def finalize(self) -> dict[str, Any]:
        """The graph as API-format JSON, for `expand`."""
        return {node_id: node.serialize() for node_id, node in self.nodes.items()}

    def replace_node_output(self, node_id: str, index: int, new_value: Any) -> None:
        """Put a value or link in the place of every link to an output; None takes those inputs away."""
        gone = [self.prefix + node_id, index]
        for node in self.nodes.values():
            for key in [key for key, value in node.inputs.items() if is_link(value) and value == gone]:
                node.set_input(key, new_value)

    def remove_node(self, id: str) -> None:  # noqa: A002 - the field's name
        """Take a node out."""
        del self.nodes[self.prefix + id]


def add_graph_prefix(
    graph: dict[str, Any], outputs: Iterable[Any], prefix: str
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The same graph and outputs with every id under a prefix."""

    def moved(value: Any) -> Any:
        return [prefix + value[0], value[1]] if is_link(value) else value

    renamed = {
        prefix + node_id: node | {"inputs": {key: moved(value) for key, value in node.get("inputs", {}).items()}}
        for node_id, node in graph.items()
    }
    return renamed, tuple(moved(value) for value in outputs)
