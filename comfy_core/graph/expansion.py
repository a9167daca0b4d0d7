"""Taking the nodes that a call returned into a prompt: what they must be, and how many. It runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy_core.errors import GraphFault
from comfy_core.graph.dynamic import DynamicPrompt, NodeNotFoundError
from comfy_core.graph.node import NodeLibrary
from comfy_core.graph.prompt import is_link
from comfy_core.graph.returned import Returned, links_into

NODES_AT_MOST = 100_000
"""Added nodes of one run. A graph that grows without end would else fill memory before anybody looks."""
DEPTH_AT_MOST = 2_000
"""Expansions within expansions. Ids grow with the depth, so that this many cost some hundred megabytes of messages."""


class ExpansionTooLarge(GraphFault):
    """A graph has grown too far while it ran."""


def take_in(prompt: DynamicPrompt, library: NodeLibrary, node_id: str, returned: list[Returned]) -> list[str]:
    """Add what the calls of a node returned; the ids of the new nodes.

    Raises GraphFault for nodes that are none, for ids that are taken, for links to nothing and when it is too much.
    """
    if prompt.depth(node_id) >= DEPTH_AT_MOST:
        raise ExpansionTooLarge(f"expansions are nested more than {DEPTH_AT_MOST} deep; does one of them never end?")
    added: list[str] = []
    for one in returned:
        if one.expand is None:
            continue
        for new, node in _nodes(one.expand):
            _check(new, node, library)
            prompt.add_ephemeral_node(new, node, node_id, node.get("override_display_id") or node_id)
            added.append(new)
        if prompt.added > NODES_AT_MOST:
            raise ExpansionTooLarge(f"expansions have added more than {NODES_AT_MOST} nodes; does one never end?")
    _check_links(prompt, added, links_into(returned))
    return added


def _nodes(graph: Any) -> Iterator[tuple[Any, Any]]:
    if not isinstance(graph, dict):
        raise GraphFault(f"an expansion is a {type(graph).__name__}, not a dict of nodes")
    yield from graph.items()


def _check(new: Any, node: Any, library: NodeLibrary) -> None:
    class_type = node.get("class_type") if isinstance(node, dict) else None
    if not isinstance(class_type, str) or class_type not in library:
        raise GraphFault(f"an expansion adds node {new} of class {class_type}, which does not exist")
    if not isinstance(node.get("inputs"), dict):
        raise GraphFault(f"an expansion adds node {new} without inputs")
    if not isinstance(node.get("override_display_id"), str | None):
        raise GraphFault(f"an expansion adds node {new}, shown as something that is no node's id")


def _check_links(prompt: DynamicPrompt, added: list[str], results: list[str]) -> None:
    for source in results:
        if source not in prompt:
            raise NodeNotFoundError(f"an expansion's result is linked to node {source}, which does not exist")
    for new in added:
        for value in prompt[new]["inputs"].values():
            if is_link(value) and value[0] not in prompt:
                raise NodeNotFoundError(f"added node {new} is linked to node {value[0]}, which does not exist")
