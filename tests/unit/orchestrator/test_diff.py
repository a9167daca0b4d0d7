"""How one version differs from another."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.diff import diff
from orchestrator.runs.requirements import requirements_of
from orchestrator.wire import VersionDiff


def _diff(before: dict[str, Any], after: dict[str, Any], old_packs: Any = None, new_packs: Any = None) -> VersionDiff:
    old, new = requirements_of(before, None, old_packs), requirements_of(after, None, new_packs)
    return diff(before, after, old, new)


def test_what_changed_is_named() -> None:
    """Nodes come and go, are given other values, links and classes; models, packs and inputs of runs change."""
    before = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "2": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "model": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
        "4": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": "old"}},
        "5": {"class_type": "ComfyUIDeployExternalNumber", "inputs": {"input_id": "size", "max_value": 2}},
    }
    after = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "b.safetensors"}},
        "2": {"class_type": "KSampler", "inputs": {"seed": True, "cfg": 7, "model": ["9", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        "5": {"class_type": "ComfyUIDeployExternalNumber", "inputs": {"input_id": "size", "max_value": 3}},
        "9": {"class_type": "LoraLoader", "inputs": {}, "_meta": {"title": "style"}},
    }
    packs = {"git_custom_nodes": {"https://x/blurs": {"hash": "a"}, "https://x/gone": {"hash": "b"}}}
    later = {"git_custom_nodes": {"https://x/blurs": {"hash": "c"}, "https://x/new": {"hash": "d"}}}
    found = msgspec.to_builtins(_diff(before, after, packs, later))
    assert found == {
        "nodes_added": [{"node_id": "9", "class_type": "LoraLoader", "title": "style"}],
        "nodes_removed": [{"node_id": "4", "class_type": "ComfyUIDeployExternalText"}],
        "nodes_changed": [
            {
                "node_id": "1",
                "class_type": "CheckpointLoaderSimple",
                "inputs": [{"name": "ckpt_name", "before": "a.safetensors", "after": "b.safetensors"}],
            },
            {
                "node_id": "2",
                "class_type": "KSampler",
                "inputs": [
                    {"name": "seed", "before": 1, "after": True},
                    {"name": "steps", "before": 20},
                    {"name": "model", "before": ["1", 0], "after": ["9", 0]},
                    {"name": "cfg", "after": 7},
                ],
            },
            {"node_id": "3", "class_type": "PreviewImage", "class_before": "SaveImage"},
            {
                "node_id": "5",
                "class_type": "ComfyUIDeployExternalNumber",
                "inputs": [{"name": "max_value", "before": 2, "after": 3}],
            },
        ],
        "models_added": [{"name": "b.safetensors", "folder": "checkpoints", "node_id": "1"}],
        "models_removed": [{"name": "a.safetensors", "folder": "checkpoints", "node_id": "1"}],
        "packs_changed": [
            {"name": "blurs", "before": "a", "after": "c"},
            {"name": "gone", "before": "b", "after": None},
            {"name": "new", "before": None, "after": "d"},
        ],
        "inputs_added": [],
        "inputs_removed": ["old"],
        "inputs_changed": ["size"],
    }


NODES = st.fixed_dictionaries(
    {
        "class_type": st.sampled_from("AB"),
        "inputs": st.dictionaries(st.sampled_from("xyz"), st.integers(0, 1) | st.booleans() | st.text(max_size=1)),
    }
)
GRAPHS = st.dictionaries(st.sampled_from("1234"), NODES, min_size=1)


@given(GRAPHS, GRAPHS)
def test_a_diff_leads_from_one_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Applied to the first graph it gives the second; of a graph and itself it is empty."""
    found = msgspec.to_builtins(_diff(before, after))
    made = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in before.items()}
    for node in found["nodes_removed"]:
        del made[node["node_id"]]
    for node in found["nodes_changed"]:
        made[node["node_id"]]["class_type"] = node["class_type"]
        for change in node.get("inputs", []):
            made[node["node_id"]]["inputs"].pop(change["name"], None)
            if "after" in change:
                made[node["node_id"]]["inputs"][change["name"]] = change["after"]
    assert set(made) | {node["node_id"] for node in found["nodes_added"]} == set(after)
    assert {node_id: repr(sorted(node["inputs"].items())) for node_id, node in made.items()} == {
        node_id: repr(sorted(after[node_id]["inputs"].items())) for node_id in made
    }
    assert not any(msgspec.to_builtins(_diff(after, after)).values())
