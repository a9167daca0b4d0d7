"""The editor's graph read: nodes, slots and links, in either form that front ends write, and what lies inside. Pure.

Whatever stands there is taken as far as it can be understood. It knows what subgraphs and group nodes are made of, and
nothing of the graph that is executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

MUTED: Final = 2
BYPASSED: Final = 4
REROUTE: Final = "Reroute"
PRIMITIVE: Final = "PrimitiveNode"
VIRTUAL: Final = frozenset({REROUTE, PRIMITIVE, "Note", "MarkdownNote"})
GROUP: Final = ("workflow>", "workflow/")
_INPUT, _OUTPUT = "-10", "-20"


class Slot(Struct, frozen=True):
    """An input of a node. widget: the name of the widget that it stands for, if any."""

    name: str
    type: str
    link: int | None
    widget: str | None


class Link(Struct, frozen=True):
    """From an output to an input, both by node id."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


class Node(Struct, frozen=True):
    """A node of the editor. widgets: its values as saved, a list in order or an object by name."""

    id: str
    type: str
    mode: int
    title: str
    inputs: list[Slot]
    output_types: list[str]
    widgets: Any
    proxies: bool

    def passes(self, output: int) -> int | None:
        """The link that a bypassed node passes on to an output: of the input beside it, or the first of its type."""
        kind = self.output_types[output] if 0 <= output < len(self.output_types) else None
        beside = self.inputs[output : output + 1] if output >= 0 else []
        fit = next((slot for slot in [*beside, *self.inputs] if slot.type == kind), None)
        return None if fit is None else fit.link


class Scope(Struct, frozen=True, kw_only=True):
    """A graph, the whole one or a subgraph as it stands inside of one of its nodes.

    prefix begins the ids of its nodes; outer and node: where it stands.
    """

    nodes: dict[str, Node]
    links: dict[int, Link]
    input_names: list[str]
    definitions: dict[str, Scope]
    prefix: str = ""
    outer: Scope | None = None
    node: Node | None = None
    input_node: str = _INPUT

    def key(self, node: Node) -> str:
        """The node's id in the graph that is executed."""
        return self.prefix + node.id

    def inside(self, node: Node) -> Scope | None:
        """What a subgraph's or a group's node holds; None for any other node."""
        inner = self.definitions.get(node.type)
        if inner is None:
            return None
        return Scope(
            nodes=inner.nodes,
            links=inner.links,
            input_names=inner.input_names,
            definitions=self.definitions,
            prefix=f"{self.prefix}{node.id}:",
            outer=self,
            node=node,
        )

    def output_link(self, slot: int) -> int | None:
        """The link that leads to an output of this subgraph."""
        ends = ((name, link) for name, link in self.links.items() if link.target == _OUTPUT)
        return next((name for name, link in ends if link.target_slot == slot), None)

    def input_of_node(self, slot: int) -> Slot | None:
        """The input of the outer node that stands for an input of this subgraph: of its name, or in its place."""
        inputs = [] if self.node is None else self.node.inputs
        name = self.input_names[slot] if 0 <= slot < len(self.input_names) else None
        named = next((one for one in inputs if one.name == name), None)
        return named or (inputs[slot] if 0 <= slot < len(inputs) else None)


def open_graph(ui_graph: Any) -> Scope | None:
    """The whole graph; None when this is none."""
    if not isinstance(ui_graph, dict) or not isinstance(ui_graph.get("nodes"), list):
        return None
    definitions: dict[str, Scope] = {}
    for definition in list_of(object_of(ui_graph.get("definitions")).get("subgraphs")):
        if isinstance(definition, dict) and isinstance(definition.get("id"), str):
            definitions[definition["id"]] = _scope(definition, definitions)
    for name, group in object_of(object_of(ui_graph.get("extra")).get("groupNodes")).items():
        for prefix in GROUP:
            definitions[prefix + name] = _scope(_as_subgraph(object_of(group)), definitions)
    return _scope(ui_graph, definitions)


def _scope(graph: Mapping[str, Any], definitions: dict[str, Scope]) -> Scope:
    nodes = [_node(node) for node in list_of(graph.get("nodes")) if isinstance(node, dict)]
    names = [text(object_of(given).get("name")) for given in list_of(graph.get("inputs"))]
    links = dict(_links(graph.get("links")))
    return Scope(
        nodes={node.id: node for node in nodes if node.type},
        links=links,
        input_names=names,
        definitions=definitions,
    )


def _node(node: Mapping[str, Any]) -> Node:
    return Node(
        id=str(node.get("id")),
        type=text(node.get("type")),
        mode=node["mode"] if isinstance(node.get("mode"), int) else 0,
        title=text(node.get("title")),
        inputs=[_slot(given) for given in list_of(node.get("inputs")) if isinstance(given, dict)],
        output_types=[str(object_of(given).get("type")) for given in list_of(node.get("outputs"))],
        widgets=node.get("widgets_values"),
        proxies="proxyWidgets" in object_of(node.get("properties")),
    )


def _slot(given: Mapping[str, Any]) -> Slot:
    link = given.get("link")
    widget = object_of(given.get("widget")).get("name")
    return Slot(
        name=text(given.get("name")),
        type=str(given.get("type")),
        link=link if isinstance(link, int) else None,
        widget=widget if isinstance(widget, str) else None,
    )


def _links(links: Any) -> Iterator[tuple[int, Link]]:
    """Links as lists [id, origin, slot, target, slot, type], or as objects."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    for given in list_of(links):
        row = [given.get(name) for name in names] if isinstance(given, dict) else given
        if not isinstance(row, list) or len(row) < len(names):
            continue
        number, origin, origin_slot, target, target_slot = row[:5]
        if isinstance(number, int) and isinstance(origin_slot, int) and isinstance(target_slot, int):
            yield number, Link(str(origin), origin_slot, str(target), target_slot)


def _as_subgraph(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group node's definition in the form of a subgraph's: every input that is not linked inside is an input of it.

    Its inputs come in the order of its nodes, those without a widget and those with one each by themselves; its outputs
    are those marked as external, and those that lead nowhere inside.
    """
    rows = [row for row in list_of(group.get("links")) if _is_row(row)]
    nodes = [{**object_of(node), "id": place} for place, node in enumerate(list_of(group.get("nodes")))]
    linked = {(row[2], row[3]) for row in rows if all(isinstance(part, int) for part in row[:4])}
    links: list[list[Any]] = [[number, *row[:4], "*"] for number, row in enumerate(rows)]
    sockets: list[tuple[int, int]] = []
    shown: list[tuple[int, int]] = []
    for node in nodes:
        for place, slot in enumerate(list_of(node.get("inputs"))):
            if (node["id"], place) not in linked:
                (shown if object_of(slot).get("widget") else sockets).append((node["id"], place))
    for number, (node_id, place) in enumerate([*sockets, *shown]):
        links.append([len(links), _INPUT, number, node_id, place, "*"])
    for number, (node_id, place) in enumerate(_group_outputs(group, nodes, rows)):
        links.append([len(links), node_id, place, _OUTPUT, number, "*"])
    return {"nodes": [_relinked(node, links) for node in nodes], "links": links}


def _group_outputs(
    group: Mapping[str, Any], nodes: list[dict[str, Any]], rows: list[list[Any]]
) -> Iterator[tuple[int, int]]:
    used, external = _ends(rows), _ends(list_of(group.get("external")))
    for node in nodes:
        for place in range(len(list_of(node.get("outputs")))):
            if (node["id"], place) in external or (node["id"], place) not in used:
                yield node["id"], place


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) >= 4 and all(part is None or isinstance(part, int) for part in row[:4])


def _ends(rows: Iterable[Any]) -> set[tuple[int, int]]:
    """(node, place) that rows begin with; what is no such row is passed over."""
    return {
        (row[0], row[1])
        for row in rows
        if isinstance(row, list) and len(row) > 1 and all(isinstance(part, int) for part in row[:2])
    }


def _relinked(node: dict[str, Any], links: list[list[Any]]) -> dict[str, Any]:
    """The node with its inputs' links by their new numbers."""
    ends = {(link[3], link[4]): link[0] for link in links if link[3] != _OUTPUT}
    slots = [object_of(slot) for slot in list_of(node.get("inputs"))]
    return {
        **node,
        "inputs": [{**slot, "link": ends.get((node["id"], place))} for place, slot in enumerate(slots)],
    }


def object_of(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """The text, or an empty one."""
    return value if isinstance(value, str) else ""
