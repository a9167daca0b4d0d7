"""The editor's graph as the graph that is executed: what ComfyUI's front end does when a prompt is queued. Pure.

What the editor alone knows goes: muted and bypassed nodes, reroutes, primitives, notes; subgraphs and group nodes are
laid open, their nodes named `<outer>:<inner>`. Values get their names from the node itself, where newer front ends
write them, or else from what a machine told of the class. Texts with `{a|b}` stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from drivers.wire import WorkflowJson
from orchestrator.errors import FieldError
from orchestrator.runs.editor import BYPASSED, MUTED, PRIMITIVE, REROUTE, VIRTUAL, Node, Scope, open_graph
from orchestrator.runs.requirements import MOST_ERRORS, MOST_NODES
from orchestrator.runs.specs import NodeSpec
from orchestrator.runs.widgets import UnknownWidgets, shown_value, widget_values

DEEPEST: Final = 50


class Converted(Struct, frozen=True):
    """The graph, or every reason why there is none."""

    graph: WorkflowJson
    errors: list[FieldError]


class _Link(Struct, frozen=True):
    """Comes from this node's output."""

    node_id: str
    slot: int


class _Value(Struct, frozen=True):
    """Comes from the editor: a primitive, or the outside of a subgraph."""

    value: Any


def classes_of(ui_graph: Any) -> list[str]:
    """The node classes that something must be known about, as far as this is an editor's graph."""
    root = open_graph(ui_graph)
    if root is None:
        return []
    found: set[str] = set()
    for scope in [root, *root.definitions.values()]:
        found.update(node.type for node in scope.nodes.values() if node.type not in root.definitions)
    return sorted(found - VIRTUAL)


def convert(ui_graph: Any, specs: Mapping[str, NodeSpec]) -> Converted:
    """Turn an editor's graph into one that can be executed. specs: by class, as far as a machine told."""
    root = open_graph(ui_graph)
    if root is None:
        message = "is not a graph of ComfyUI's editor: it has no list of nodes"
        return Converted({}, [FieldError("ui_graph", message, "bad_ui_graph")])
    graph: WorkflowJson = {}
    errors: list[FieldError] = []
    for scope, node in _executed(root, 0):
        if scope is None:
            message = "subgraphs are nested too deeply, or hold too many nodes"
            return Converted({}, [FieldError("ui_graph", message, "bad_ui_graph")])
        try:
            graph[scope.key(node)] = _prompt_node(scope, node, specs.get(node.type))
        except UnknownWidgets as error:
            errors.append(FieldError(f"ui_graph.nodes.{scope.key(node)}", str(error), "unknown_class"))
        if len(errors) >= MOST_ERRORS or len(graph) > MOST_NODES:
            break
    if len(graph) > MOST_NODES:
        errors = [FieldError("ui_graph", f"at most {MOST_NODES} nodes", "too_many_nodes")]
    return Converted({} if errors else graph, errors)


def _executed(scope: Scope, depth: int) -> Iterator[tuple[Scope | None, Node]]:
    """Every node that stays, with the graph it stands in; scope None: too deep to go on."""
    for node in scope.nodes.values():
        if node.mode in (MUTED, BYPASSED) or node.type in VIRTUAL:
            continue
        inner = scope.inside(node)
        if inner is None:
            yield scope, node
        elif depth >= DEEPEST:
            yield None, node
            return
        else:
            yield from _executed(inner, depth + 1)


def _prompt_node(scope: Scope, node: Node, spec: NodeSpec | None) -> dict[str, Any]:
    inputs = {name: _literal(value) for name, value in widget_values(node, spec).items() if value is not None}
    for slot in node.inputs:
        if slot.link is None:
            continue
        source = _source(scope, slot.link)
        if isinstance(source, _Link):
            inputs[slot.name] = [source.node_id, source.slot]
        elif isinstance(source, _Value) and source.value is not None:
            inputs[slot.name] = _literal(source.value)
    made: dict[str, Any] = {"class_type": node.type, "inputs": inputs}
    return {**made, "_meta": {"title": node.title}} if node.title else made


def _literal(value: Any) -> Any:
    """A list would be taken for a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _source(scope: Scope, link_id: int) -> _Link | _Value | None:
    """Where a link begins, through everything that is not executed; None: nowhere."""
    seen: set[tuple[str, int]] = set()
    at: tuple[Scope, int] | _Link | _Value | None = (scope, link_id)
    while isinstance(at, tuple):
        scope, link_id = at
        if (scope.prefix, link_id) in seen:
            return None
        seen.add((scope.prefix, link_id))
        at = _one_back(scope, link_id)
    return at


def _one_back(scope: Scope, link_id: int) -> tuple[Scope, int] | _Link | _Value | None:
    """What a link begins at: an output that is executed, a value, or another link to follow."""
    link = scope.links.get(link_id)
    if link is None:
        return None
    if link.origin == scope.input_node:
        return _from_outside(scope, link.origin_slot)
    node = scope.nodes.get(link.origin)
    if node is None:
        return None
    if node.type == PRIMITIVE:  # muting one changes nothing
        values = node.widgets
        return _Value(values[0]) if isinstance(values, list) and values else None
    if node.mode == MUTED:
        return None
    if node.mode == BYPASSED:
        return _follow(scope, node.passes(link.origin_slot))
    if node.type == REROUTE:
        return _follow(scope, node.inputs[0].link if node.inputs else None)
    inner = scope.inside(node)
    if inner is not None:
        return _follow(inner, inner.output_link(link.origin_slot))
    return _Link(scope.key(node), link.origin_slot)


def _follow(scope: Scope, link_id: int | None) -> tuple[Scope, int] | None:
    return None if link_id is None else (scope, link_id)


def _from_outside(scope: Scope, slot: int) -> tuple[Scope, int] | _Value | None:
    """What stands at an input of the subgraph that we are in."""
    outer, node = scope.outer, scope.node
    given = scope.input_of_node(slot)
    if outer is None or node is None or given is None:
        return None
    if given.link is not None:
        return (outer, given.link)
    found, value = shown_value(node, given)
    return _Value(value) if found else None
