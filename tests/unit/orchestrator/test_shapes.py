"""A graph's shape and its values: together they are the graph, and only what a machine must have is in the shape."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.wire import JobFile
from orchestrator.runs import inputs, shapes
from orchestrator.runs.requirements import requirements_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6) | st.just("x.safetensors"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "$value", "b.c"]), inner, max_size=2)
    ),
    max_leaves=3,
)
LINKS = st.tuples(st.sampled_from(["1", "2"]), st.integers(0, 2)).map(list)
NODES = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from(["A", "B"]),
        "inputs": st.dictionaries(st.sampled_from(["a", "b", "a.b"]), VALUES | LINKS),
    }
)
GRAPHS = st.dictionaries(st.sampled_from(["1", "2", "1.a", "3"]), NODES, min_size=1)


def _sampler(seed: int, model: str = "m.safetensors") -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": model}},
        "2": {
            "class_type": "KSampler",
            "inputs": {"model": ["1", 0], "seed": seed, "text": "https://example.org/a.png"},
        },
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GRAPHS)
def test_shape_and_values_are_the_graph(graph: dict[str, Any]) -> None:
    """Splitting and filling gives the graph back, whatever stands in it."""
    shape, values = shapes.split(graph)
    assert shapes.shown(shape, values) == graph
    assert shapes.fill(shape, values, {}) == (graph, [])


def test_graphs_that_differ_in_values_have_one_shape() -> None:
    """A seed or a text makes no other shape; a model, a class or a link does."""
    names = {shapes.hash_of(shapes.split(_sampler(seed))[0]) for seed in (1, 2)}
    assert len(names) == 1
    assert shapes.hash_of(shapes.split(_sampler(1, "other.safetensors"))[0]) not in names


def test_a_shape_needs_what_its_graph_needs() -> None:
    """Classes and models are known of the shape alone; its one input is any."""
    needs = requirements_of(shapes.split(_sampler(1))[0])
    assert needs.node_classes == ["CheckpointLoaderSimple", "KSampler"]
    assert [(need.name, need.folder) for need in needs.models] == [("m.safetensors", "checkpoints")]
    assert inputs.check({"2.seed": 7}, [shapes.OPEN]) == []


def test_files_are_laid_and_addresses_stay_text() -> None:
    """A file becomes one that the agent fetches; a text that looks like an address stays what it is."""
    file = JobFile("f", "http://here/f", "a.png")
    shape, values = shapes.split(_sampler(1))
    graph, needed = inputs.lay(shape, {**values, "2.seed": [{"file_id": "f"}]}, {"f": file})
    assert (graph["2"]["inputs"]["seed"], needed) == (["fleet-file:f"], [file])
    assert graph["2"]["inputs"]["text"] == "https://example.org/a.png"
