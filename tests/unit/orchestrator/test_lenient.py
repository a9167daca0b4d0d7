"""ComfyDeploy's inputs made to fit, and what a pushed machine is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.wire import AttemptId, Job, JobFile, LeaseToken, RunId
from orchestrator.runs.lenient import fitted
from orchestrator.runs.pushed import Order, body_of
from orchestrator.runs.shapes import split
from orchestrator.wire import InputSpec

BASE = "https://fleet.example"
FILE = "01a1ff1b-24e2-755b-a6a0-fc6d0fdd36ce"


def spec(kind: Any, name: str = "x") -> InputSpec:
    return InputSpec(name, "1", "X", kind)


@pytest.mark.parametrize(
    ("kind", "sent", "taken"),
    [
        ("integer", "42", 42),
        ("integer", "-5", -5),
        ("integer", 0, 0),
        ("seed", "12345678901234567", 12345678901234567),
        ("number", "0.5", 0.5),
        ("number", "1e3", 1000.0),
        ("number", "many", "many"),
        ("boolean", "True", True),
        ("boolean", False, False),
        ("boolean", "yes", "yes"),
        ("text", 7, "7"),
        ("text", "7", "7"),
        ("image", f"{BASE}/api/view?file={FILE}", {"file_id": FILE}),
        ("image", f"{BASE}/files/{FILE}/a.png?expires=1&signature=x", {"file_id": FILE}),
        ("image", f"https://other.example/api/view?file={FILE}", f"https://other.example/api/view?file={FILE}"),
        ("image", f"{BASE}.evil.example/api/view?file={FILE}", f"{BASE}.evil.example/api/view?file={FILE}"),
        ("images", json.dumps([f"{BASE}/api/view?file={FILE}"]), [{"file_id": FILE}]),
        ("images", "https://a.example/x.zip", ["https://a.example/x.zip"]),
    ],
)
def test_a_value_is_made_to_fit(kind: str, sent: Any, taken: Any) -> None:
    """Text for numbers, words for booleans, JSON text for lists, our addresses for files; else it is left as it is."""
    assert fitted({"x": sent}, [spec(kind)], BASE) == {"x": taken}


def test_what_is_not_taken_is_left_out() -> None:
    """Inputs that the version does not have, and nulls."""
    assert fitted({"x": None, "y": 1}, [spec("text")], BASE) == {}


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(st.none() | st.text() | st.floats() | st.booleans(), st.lists),
    st.sampled_from(["number", "images", "text"]),
)
def test_nothing_that_is_sent_breaks_it(value: Any, kind: str) -> None:
    """Any JSON value of any kind is taken or left."""
    fitted({"x": value}, [spec(kind)], BASE)


GRAPH = {
    "1": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": "a", "default_value": ""}},
    "2": {"class_type": "ComfyUIDeployExternalNumberInt", "inputs": {"input_id": "b", "default_value": 5}},
    "3": {"class_type": "ComfyUIDeployExternalImage", "inputs": {"input_id": "c"}},
}


def job(graph: dict[str, Any], files: list[JobFile]) -> Job:
    return Job(RunId("run"), AttemptId("attempt"), 1, LeaseToken("cft_t"), graph, 60, files)


def test_what_a_machine_is_sent() -> None:
    """The graph as it is stored, inputs with addresses for files, and the same laid in for old versions of the plugin.

    A value that is another input's name is not laid in twice, and 0 is 0.
    """
    files = [JobFile(FILE, "https://fleet.example/files/x", "a.png")]
    order = Order(GRAPH, None, {"a": "b", "b": 0, "c": {"file_id": FILE}})
    body = body_of(job({}, files), order, BASE)
    assert body["workflow_api_raw"] == GRAPH
    assert body["inputs"] == {"a": "b", "b": 0, "c": "https://fleet.example/files/x"}
    laid = {node_id: node["inputs"] for node_id, node in body["workflow_api"].items()}
    assert laid["1"] == {"input_id": "b", "default_value": "b"}
    assert laid["2"]["input_id"] == 0
    assert laid["3"]["input_id"] == "https://fleet.example/files/x"
    assert (body["prompt_id"], body["cd_token"]) == ("attempt", "cft_t")
    assert body["status_endpoint"] == f"{BASE}/api/update-run"


@pytest.mark.parametrize("ui_graph", [None, {}, {"nodes": None}, [], "text"])
def test_the_plugin_always_gets_an_editors_graph(ui_graph: Any) -> None:
    """It fails without one that has nodes."""
    assert body_of(job({}, []), Order(GRAPH, ui_graph, {}), BASE)["workflow"] == {"nodes": []}
    whole = {"nodes": [{"id": 1}], "links": []}
    assert body_of(job({}, []), Order(GRAPH, whole, {}), BASE)["workflow"] == whole


def test_a_graph_that_was_sent_whole_is_sent_filled() -> None:
    """Its values are in their places, its files are addresses, and there is nothing to lay in."""
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": {"file_id": FILE}}}}
    shape, values = split(graph)
    filled = {"1": {"class_type": "LoadImage", "inputs": {"image": f"fleet-file:{FILE}"}}}
    body = body_of(job(filled, [JobFile(FILE, "https://f/x", "a.png")]), Order(shape, None, values), BASE)
    assert body["workflow_api_raw"]["1"]["inputs"]["image"] == "https://f/x"
    assert body["inputs"] == {}
