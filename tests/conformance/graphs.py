"""Random graphs of plain, list, lazy, asynchronous, expanding and blocking nodes, and what they must come to.

The expectation is a recursive evaluation that knows no order, no cache and no events. Each node carries a tag of its
own, so that no two are equal in content and every call can be told apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from comfy_core.graph.blocker import ExecutionBlocker
from comfy_core.graph.builder import GraphBuilder
from tests.conformance.nodes import INT, TEXT, node
from tests.conformance.stage import n

BLOCKED = object()
LAZY_INT = ("INT", {"lazy": True})
TAGGED = {"tag": TEXT}
KINDS = ("add", "wait", "many", "sum", "pick", "shut", "grow", "deep", "spread", "raw", "lazy raw", "trip")
ONE_EACH = {"give", "add", "wait", "grow", "deep", "trip"}
"""Kinds that give one value, unblocked, for every one they take."""

Link = tuple[str]
Graph = dict[str, tuple[str, dict[str, "int | Link"]]]
"""node id -> (kind, inputs); a link is a tuple of the source's id."""


@dataclass
class Calls:
    """What the nodes of one stage were called for. armed: whether nodes of kind trip raise."""

    tags: list[str] = field(default_factory=list)
    armed: bool = False

    def note(self, tag: str) -> None:
        self.tags.append(tag)

    def trip(self, v: int, tag: str) -> Any:
        self.note(tag)
        if self.armed:
            raise ValueError(tag)
        return (v,)


def classes(calls: Calls) -> dict[str, type]:
    """class_type -> class."""

    def noted(function: Any) -> Any:
        def run(tag: str, **given: Any) -> Any:
            calls.note(tag)
            return function(tag=tag, **given)

        return run

    async def wait(v: int, tag: str) -> Any:
        calls.note(tag)
        for _ in range(v % 4):
            await asyncio.sleep(0)
        return (v,)

    def ask(self: Any, which: int, tag: str, a: Any = None, b: Any = None) -> list[str]:
        return ["a" if which % 2 else "b"]

    v = {"v": INT} | TAGGED
    lazy = {"which": INT, "a": LAZY_INT, "b": LAZY_INT} | TAGGED
    raw = {"v": ("INT", {"rawLink": True})} | TAGGED
    lazy_raw = {"v": ("INT", {"rawLink": True, "lazy": True})} | TAGGED
    return {
        "give": node(noted(lambda v, tag: (v,)), v, ("INT",)),
        "add": node(noted(lambda a, b, tag: ((a + b) % 97,)), {"a": INT, "b": INT} | TAGGED, ("INT",)),
        "wait": node(wait, v, ("INT",)),
        "many": node(noted(lambda v, tag: (list(range(v % 3)),)), v, ("INT",), OUTPUT_IS_LIST=(True,)),
        "sum": node(lambda v, tag: (calls.note(tag[0]), (sum(v) % 97,))[1], v, ("INT",), INPUT_IS_LIST=True),
        "pick": node(noted(lambda which, tag, a, b: (a if which % 2 else b,)), lazy, ("INT",), check_lazy_status=ask),
        "shut": node(noted(lambda v, tag: (ExecutionBlocker(None) if v % 3 == 0 else v,)), v, ("INT",)),
        "grow": node(noted(grow), v, ("INT",)),
        "deep": node(noted(deep), v, ("INT",)),
        "spread": node(noted(spread), v, ("INT",)),
        "raw": node(noted(lambda v, tag: {"result": (v,), "expand": {}}), raw, ("INT",)),
        "lazy raw": node(noted(lambda v, tag: {"result": (v,), "expand": {}}), lazy_raw, ("INT",)),
        "trip": node(calls.trip, v, ("INT",)),
    }


def grow(v: int, tag: str) -> Any:
    """Odd ones become an addition, over a coroutine."""
    if v % 2 == 0:
        return (v,)
    graph = GraphBuilder()
    waits = graph.node("wait", v=v, tag=f"{tag}/{v}")
    return {"result": (graph.node("add", a=waits.out(0), b=1, tag=tag).out(0),), "expand": graph.finalize()}


def deep(v: int, tag: str) -> Any:
    """Down to the next multiple of four, an expansion a step."""
    if v % 4 == 0:
        return (v,)
    graph = GraphBuilder()
    return {"result": (graph.node("deep", v=v - 1, tag=tag).out(0),), "expand": graph.finalize()}


def spread(v: int, tag: str) -> Any:
    """What a list node within makes."""
    graph = GraphBuilder()
    return {"result": (graph.node("many", v=v, tag=tag).out(0),), "expand": graph.finalize()}


class Expected:
    """What a graph comes to: values(id) is the list of the node's values. needed: the nodes evaluated so far."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, list[Any]] = {}

    @property
    def needed(self) -> set[str]:
        return set(self._known)

    def values(self, node_id: str) -> list[Any]:
        """Evaluate a node, by way of its sources."""
        if node_id not in self._known:
            kind, inputs = self._graph[node_id]
            self._known[node_id] = list(self._evaluate(kind, inputs))
        return self._known[node_id]

    def _given(self, value: int | Link) -> list[Any]:
        return self.values(value[0]) if isinstance(value, tuple) else [value]

    def _evaluate(self, kind: str, inputs: dict[str, int | Link]) -> list[Any]:
        if kind == "pick":
            return [self._picked(which, inputs) for which in self._given(inputs["which"])]
        if kind == "add":
            return _paired(self._given(inputs["a"]), self._given(inputs["b"]))
        taken = self._given(inputs["v"])
        if kind in ("raw", "lazy raw"):
            return taken
        if kind == "sum":
            return [BLOCKED if BLOCKED in taken else sum(taken) % 97]
        made: list[Any] = []
        for v in taken:
            made.extend([BLOCKED] if v is BLOCKED else _one(kind, v))
        return made

    def _picked(self, which: Any, inputs: dict[str, int | Link]) -> Any:
        if which is BLOCKED:
            return BLOCKED
        (value,) = self._given(inputs["a" if which % 2 else "b"])
        return value


def _paired(one: list[Any], other: list[Any]) -> list[Any]:
    if not one or not other:
        return []
    pairs = [(one[min(i, len(one) - 1)], other[min(i, len(other) - 1)]) for i in range(max(len(one), len(other)))]
    return [BLOCKED if BLOCKED in pair else sum(pair) % 97 for pair in pairs]


def _one(kind: str, v: int) -> list[Any]:
    """What one call makes."""
    if kind in ("many", "spread"):
        return list(range(v % 3))
    made = {"grow": (v + 1) % 97 if v % 2 else v, "deep": v - v % 4, "shut": BLOCKED if v % 3 == 0 else v}
    return [made.get(kind, v)]


def followers(graph: Graph, changed: str) -> set[str]:
    """The node and all that depend on it."""
    found = {changed}
    for node_id, (_, inputs) in graph.items():
        if any(isinstance(value, tuple) and value[0] in found for value in inputs.values()):
            found.add(node_id)
    return found


def prompt_of(graph: Graph, outputs: list[str]) -> dict[str, Any]:
    """The graph as clients send it, with a node that shows for every output."""
    prompt = {
        node_id: n(kind, tag=node_id, **{k: [v[0], 0] if isinstance(v, tuple) else v for k, v in inputs.items()})
        for node_id, (kind, inputs) in graph.items()
    }
    return prompt | {f"show {output}": n("OddShow", v=[output, 0]) for output in outputs}


def shown_by(expected: Expected, outputs: list[str]) -> dict[str, list[str]]:
    """What those nodes show: values as text, blocked ones left out, nothing at all where none is left."""
    seen = {f"show {one}": [str(value) for value in expected.values(one) if value is not BLOCKED] for one in outputs}
    return {node_id: values for node_id, values in seen.items() if values}


CONSTANT = st.integers(0, 20)


def links(ids: Iterable[str]) -> st.SearchStrategy[Any]:
    """A link to one of these."""
    return st.sampled_from(sorted(ids)).map(lambda one: (one,))


def inputs_for(kind: str, graph: Graph, single: set[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a node of this kind. What a node may leave alone comes from nodes of one value each, since a longer
    list would mean more calls only when it happens to be there."""
    if kind == "give":
        return st.fixed_dictionaries({"v": CONSTANT})
    link = links(graph)
    if kind in ("raw", "lazy raw"):
        return st.fixed_dictionaries({"v": link})
    value = st.one_of(CONSTANT, link, link)
    if kind == "add":
        return st.fixed_dictionaries({"a": value, "b": value})
    if kind == "pick":
        sure = st.one_of(CONSTANT, links(single))
        return st.fixed_dictionaries({"which": value, "a": sure, "b": sure})
    return st.fixed_dictionaries({"v": value})


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, list[str]]:
    """A graph, each node after its sources, and the nodes to show."""
    graph: Graph = {}
    single: set[str] = set()
    for index in range(draw(st.integers(2, 12))):
        kind = draw(st.sampled_from(KINDS)) if graph else "give"
        inputs = draw(inputs_for(kind, graph, single))
        graph[f"n{index}"] = (kind, inputs)
        if kind in ONE_EACH and all(not isinstance(one, tuple) or one[0] in single for one in inputs.values()):
            single.add(f"n{index}")
    outputs = draw(st.lists(st.sampled_from(list(graph)), min_size=1, max_size=3, unique=True))
    return graph, outputs
