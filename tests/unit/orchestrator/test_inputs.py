"""Inputs of a run: what fits a version, and how it is laid into the graph."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drivers.wire import JobFile
from orchestrator.runs.inputs import check, file_ids, lay
from orchestrator.wire import InputSpec


def external(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of ComfyDeploy's external inputs."""
    return {"class_type": f"ComfyUIDeployExternal{kind}", "inputs": inputs}


GRAPH = {
    "1": external("Image", input_id="photo"),
    "2": external("Text", input_id="prompt", default_value="a cat"),
    "3": external("ImageBatch", input_id="photos", images="[]"),
    "4": external("NumberInt", input_id="steps", default_value=20),
    "5": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


def spec(name: str, kind: Any, **more: Any) -> InputSpec:
    """What a version says of one input."""
    return InputSpec(name, "1", "C", kind, **more)


def test_a_value_goes_to_its_node_and_the_graph_given_stays() -> None:
    """input_id is set, and the field the class reads its value from; nothing else changes, the original least."""
    before = json.dumps(GRAPH)
    laid, files = lay(GRAPH, {"prompt": "a dog", "steps": 0}, {})
    assert laid["2"]["inputs"] == {"input_id": "a dog", "default_value": "a dog"}
    assert laid["4"]["inputs"] == {"input_id": 0, "default_value": 20}
    assert laid["5"] == GRAPH["5"]
    assert files == []
    assert json.dumps(GRAPH) == before


def test_a_value_that_equals_another_key_is_not_replaced_again() -> None:
    """Injection is a single pass (ComfyDeploy replaces such a value twice)."""
    laid, _ = lay(GRAPH, {"prompt": "photo", "photo": "data:image/png;base64,AA=="}, {})
    assert laid["2"]["inputs"]["input_id"] == "photo"


def test_files_and_urls_become_files_of_the_job() -> None:
    """A stored file keeps its id as key; a URL gets a file of its own that nobody trusts."""
    stored = JobFile(key="f1", url="http://here/f1", name="a.png", sha256="00", size=1, trusted=True)
    inputs = {"photo": {"file_id": "f1"}, "photos": ["https://x.example/b.png?size=9", {"file_id": "f1"}]}
    laid, files = lay(GRAPH, inputs, {"f1": stored})
    assert laid["1"]["inputs"]["input_id"] == "fleet-file:f1"
    assert json.loads(laid["3"]["inputs"]["images"]) == ["fleet-file:photos.0", "fleet-file:f1"]
    assert {file.key: (file.name, file.trusted) for file in files} == {
        "f1": ("a.png", True),
        "photos.0": ("b.png", False),
    }


def test_a_file_that_is_gone_is_a_key_error() -> None:
    """The dispatcher turns it into input_unavailable."""
    with pytest.raises(KeyError):
        lay(GRAPH, {"photo": {"file_id": "gone"}}, {})


def test_file_ids_are_found_once_each() -> None:
    """In values and in lists, in order."""
    inputs = {"a": {"file_id": "x"}, "b": [{"file_id": "y"}, {"file_id": "x"}], "c": "text"}
    assert file_ids(inputs) == ["x", "y"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("text", ["", "hello"], [1, None, ["a"]]),
        ("number", [1, 2.5, -3], ["1", True, None]),
        ("integer", [1, 2.0, -5], [1.5, "1", False]),
        ("seed", [0, 2**53], ["x", 0.5]),
        ("boolean", [True, False], [0, "true", None]),
        ("image", [{"file_id": "x"}, "https://a.example/b.png", "data:image/png;base64,AA=="], ["b.png", {"id": 1}, 3]),
        ("images", [[], [{"file_id": "x"}]], [{"file_id": "x"}, ["b.png"], "[]"]),
        ("file", ["lora.safetensors", {"file_id": "x"}], ["", 1, {}]),
    ],
)
def test_kinds_take_their_values_only(kind: str, good: list[Any], bad: list[Any]) -> None:
    """Every kind of input accepts what it is for and names the input it refuses."""
    for value in good:
        assert check({"it": value}, [spec("it", kind)]) == []
    for value in bad:
        (error,) = check({"it": value}, [spec("it", kind)])
        assert (error.path, error.code) == ("inputs.it", "wrong_input")


def test_limits_choices_and_unknown_names() -> None:
    """Minimum, maximum, options and inputs that the version does not have."""
    specs = [spec("n", "number", minimum=1, maximum=3), spec("e", "enum", options=["a", "b"])]
    messages = [error.message for error in check({"n": 0, "e": "c", "zz": 1}, specs)]
    assert messages == [
        "must be at least 1",
        "must be one of a, b",
        "the version has no input of this name; it has: e, n",
    ]
    assert check({"n": 4}, specs)[0].message == "must be at most 3"
