"""What a workflow version is: checks of its graph, its inputs, its needs."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.requirements import check_graph, link_source, requirements_of


def _node(*sources: str, class_type: str = "A") -> dict[str, Any]:
    return {"class_type": class_type, "inputs": {f"i{place}": [source, 0] for place, source in enumerate(sources)}}


@given(st.lists(st.lists(st.integers(0, 11), max_size=3), min_size=1, max_size=12))
def test_a_cycle_is_found_exactly_when_there_is_one(edges: list[list[int]]) -> None:
    """Compared with a plain search from every node; every node named lies on a cycle."""
    size = len(edges)
    sources = [[edge % size for edge in row] for row in edges]
    graph = {str(place): _node(*map(str, row)) for place, row in enumerate(sources)}

    def reaches_itself(start: int) -> bool:
        seen: set[int] = set()
        todo = list(sources[start])
        while todo:
            place = todo.pop()
            if place == start:
                return True
            if place not in seen:
                seen.add(place)
                todo += sources[place]
        return False

    on_cycles = {f"nodes.{place}" for place in range(size) if reaches_itself(place)}
    found = {error.path for error in check_graph(graph)}
    assert bool(found) == bool(on_cycles)
    assert found <= on_cycles


def test_the_check_is_linear_in_the_nodes() -> None:
    """Ten times the nodes take less than forty times as long, in a chain that recursion would not survive."""

    def chain(length: int) -> dict[str, Any]:
        return {"0": _node()} | {str(place): _node(str(place - 1)) for place in range(1, length)}

    def seconds(graph: dict[str, Any]) -> float:
        best = 9.0
        for _ in range(3):
            began = time.perf_counter()
            assert check_graph(graph) == []
            best = min(best, time.perf_counter() - began)
        return best

    small, large = chain(2_000), chain(20_000)
    assert seconds(large) < 40 * max(seconds(small), 0.0005)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)
graphs = st.dictionaries(
    st.text(max_size=3),
    json_values
    | st.fixed_dictionaries(
        {"class_type": st.sampled_from(["ComfyUIDeployExternalEnum", "VAELoader", "X"]), "inputs": json_values}
    ),
    max_size=5,
)


@given(graphs)
def test_no_json_object_makes_the_check_fail(graph: dict[str, Any]) -> None:
    """Whatever is sent is either refused with errors that name something, or understood and storable."""
    errors = check_graph(graph)
    assert all(error.path for error in errors)
    if not errors:
        msgspec.json.encode(requirements_of(graph))


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (["3", 0], "3"),
        (["3", 0.0], "3"),
        (["3", True], None),
        (["3", "0"], None),
        ([3, 0], None),
        (["3"], None),
        ("3", None),
        ({"3": 0}, None),
    ],
)
def test_what_is_a_link(value: Any, source: str | None) -> None:
    """A list of a text and a number, nothing else."""
    assert link_source(value) == source


def test_models_are_read_from_the_loaders() -> None:
    """Known loaders give the folder; a VAE that is no file is no need; unknown nodes give names of model files."""
    needs = requirements_of(
        {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/one.safetensors"}},
            "2": {"class_type": "VAELoader", "inputs": {"vae_name": "taesd"}},
            "3": {"class_type": "SomebodysLoader", "inputs": {"which": "x.gguf", "mode": "fast"}},
            "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a photo", "clip": ["1", 1]}},
            "5": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd/one.safetensors"}},
            "6": {"class_type": "ComfyUIDeployExternalLora", "inputs": {"input_id": "l", "default_lora_name": "a.pt"}},
        }
    )
    assert [(need.folder, need.name) for need in needs.models] == [
        ("checkpoints", "sd/one.safetensors"),
        ("", "x.gguf"),
    ]
    assert needs.node_classes == sorted(needs.node_classes)
    assert len(needs.node_classes) == 5


def test_inputs_are_read_from_the_external_nodes() -> None:
    """Kind, default, limits, options and names; a linked default is none; nodes without an id are left out."""
    needs = requirements_of(
        {
            "1": {
                "class_type": "ComfyUIDeployExternalNumberSliderInt",
                "inputs": {"input_id": "n", "default_value": 3, "min_value": 1, "max_value": 9, "display_name": "N"},
            },
            "2": {
                "class_type": "ComfyUIDeployExternalEnum",
                "inputs": {"input_id": "e", "default_value": "a", "options": '["a", "b"]'},
            },
            "3": {"class_type": "ComfyUIDeployExternalImage", "inputs": {"input_id": "i", "default_value": ["9", 0]}},
            "4": {"class_type": "ComfyUIDeployExternalText", "inputs": {"default_value": "x"}},
            "5": {"class_type": "ComfyUIDeployExternalUnheardOf", "inputs": {"input_id": "u"}},
            "9": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        }
    )
    number, enum, image = needs.inputs
    assert (number.kind, number.default, number.minimum, number.maximum, number.display_name) == (
        "integer",
        3,
        1,
        9,
        "N",
    )
    assert (enum.kind, enum.default, enum.options) == ("enum", "a", ["a", "b"])
    assert (image.kind, image.default) == ("image", None)
