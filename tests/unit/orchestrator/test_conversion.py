"""The editor's graphs as graphs that are executed, beside what the published front end made of the very same.

tests/fixtures/editor/graphs.json holds graphs as comfyui-frontend-package 1.27.10 saved them and the prompts it queued
for them; tests/browser/test_conversion.py has it do so again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.conversion import classes_of, convert
from orchestrator.runs.specs import NodeSpec, Widget, specs_of

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "editor"
GRAPHS: dict[str, Any] = json.loads((FIXTURES / "graphs.json").read_text())
SPECS = specs_of(json.loads((FIXTURES / "classes.json").read_text()))


def _plain(graph: dict[str, Any]) -> dict[str, Any]:
    """Without titles, and without the values that the editor had none for."""
    return {
        node_id: (node["class_type"], {name: value for name, value in node["inputs"].items() if value != "undefined"})
        for node_id, node in graph.items()
    }


def _as_older_front_ends_save(value: Any) -> Any:
    """Without the names of widgets, which front ends before 1.16 did not write unless something was linked."""
    if isinstance(value, list):
        return [_as_older_front_ends_save(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: _as_older_front_ends_save(item) for name, item in value.items()}
    if value.get("type") in SPECS and isinstance(value.get("inputs"), list):
        made["inputs"] = [slot for slot in value["inputs"] if "widget" not in slot or slot.get("link") is not None]
    return made


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_becomes_what_the_front_end_queues(name: str):
    """Muted, bypassed, rerouted, primitives, widgets as inputs, subgraphs in subgraphs, group nodes, either schema."""
    converted = convert(GRAPHS[name]["ui"], SPECS)
    assert converted.errors == []
    assert _plain(converted.graph) == _plain(GRAPHS[name]["api"])


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"group", "group_widgets_linked"}))
def test_an_older_front_ends_graph_takes_its_names_from_a_machine(name: str):
    """The same graphs as they were saved before nodes had their widgets' names; group nodes came with the names."""
    converted = convert(_as_older_front_ends_save(GRAPHS[name]["ui"]), SPECS)
    assert _plain(converted.graph) == _plain(GRAPHS[name]["api"])


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"values"}))
def test_a_newer_front_ends_graph_needs_no_machine(name: str):
    """Nothing is known of any class: the nodes themselves say what their values are."""
    assert _plain(convert(GRAPHS[name]["ui"], {}).graph) == _plain(GRAPHS[name]["api"])


def test_a_class_that_nobody_knows_is_named():
    """The error tells the node and the class; a node with nothing but links needs nothing to be known."""
    node = {"id": 7, "type": "Mystery", "mode": 0, "inputs": [], "outputs": [], "widgets_values": [1, 2]}
    plain = {"id": 8, "type": "Plain", "mode": 0, "inputs": [{"name": "x", "type": "IMAGE", "link": 1}], "outputs": []}
    ui_graph = {"nodes": [node, plain], "links": [[1, 7, 0, 8, 0, "IMAGE"]]}
    (error,) = convert(ui_graph, {}).errors
    assert (error.path, error.code) == ("ui_graph.nodes.7", "unknown_class")
    assert "Mystery" in error.message
    told = convert(ui_graph, {"Mystery": NodeSpec([Widget("a"), Widget("button", None, False), Widget("b", 5)])})
    assert told.graph == {
        "7": {"class_type": "Mystery", "inputs": {"a": 1, "b": 5}},
        "8": {"class_type": "Plain", "inputs": {"x": ["7", 0]}},
    }
    assert classes_of(ui_graph) == ["Mystery", "Plain"]


def test_a_seeds_control_is_told_from_the_next_value():
    """With and without the control, whatever the machine declares, the values after a seed keep their names."""
    spec = NodeSpec([Widget("seed", 0), Widget("control_after_generate", "fixed", False), Widget("mode", "fast")])
    for values in ([3, "randomize", "slow"], [3, "slow"]):
        node = {"id": 1, "type": "N", "widgets_values": values}
        assert convert({"nodes": [node]}, {"N": spec}).graph["1"]["inputs"] == {"seed": 3, "mode": "slow"}


def test_lists_titles_and_values_by_name():
    """A list value is wrapped, or it would be a link; a title stays; values saved by name are taken by name."""
    node = {"id": 1, "type": "N", "title": "mine", "widgets_values": {"a": [1, 2], "other": 3}}
    spec = {"N": NodeSpec([Widget("a"), Widget("b", "default")])}
    assert convert({"nodes": [node]}, spec).graph["1"] == {
        "class_type": "N",
        "inputs": {"a": {"__value__": [1, 2]}, "b": "default"},
        "_meta": {"title": "mine"},
    }


def test_a_graph_that_leads_round_in_circles_ends():
    """Reroutes that feed each other lead nowhere; a subgraph that holds itself is refused."""
    reroute = [
        {"id": 1, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 2}], "outputs": [{"type": "*"}]},
        {"id": 2, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 1}], "outputs": [{"type": "*"}]},
        {"id": 3, "type": "Plain", "inputs": [{"name": "x", "type": "*", "link": 3}], "outputs": []},
    ]
    links = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "*"]]
    assert convert({"nodes": reroute, "links": links}, {}).graph == {"3": {"class_type": "Plain", "inputs": {}}}
    itself = {"id": "s", "nodes": [{"id": 1, "type": "s"}, {"id": 2, "type": "s"}], "links": []}
    ui_graph = {"nodes": [{"id": 1, "type": "s"}], "definitions": {"subgraphs": [itself]}}
    began = time.perf_counter()
    assert convert(ui_graph, {}).errors[0].code == "bad_ui_graph"
    assert time.perf_counter() - began < 1
    wide = [
        {"id": f"s{n}", "nodes": [{"id": place, "type": f"s{n + 1}"} for place in range(20)], "links": []}
        for n in range(40)
    ]
    many = {"nodes": [{"id": 1, "type": "s0"}], "definitions": {"subgraphs": wide}}
    assert convert(many, {}).errors[0].code == "too_many_nodes"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("id", "type", "mode", "inputs", "outputs", "widgets_values", "properties", "title", "name", "link", "widget")


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6), max_size=4), JSON, JSON)
def test_whatever_stands_there_is_answered(nodes: list[dict[str, Any]], links: Any, extra: Any):
    """A graph of nonsense is converted or refused, and never brings the server down."""
    definitions = {"subgraphs": [{"id": "a", "nodes": nodes, "links": links}]}
    groups = {"groupNodes": {"g": {"nodes": nodes, "links": links, "external": extra}}}
    for ui_graph in ({"nodes": nodes, "links": links, "definitions": definitions, "extra": groups}, extra):
        converted = convert(ui_graph, {})
        assert isinstance(converted.graph, dict)
        json.dumps(converted.graph)
