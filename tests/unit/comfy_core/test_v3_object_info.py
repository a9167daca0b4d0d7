"""How built-in nodes describe themselves, V1 and V3, against what ComfyUI 0.3.64 was recorded to say of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comfy_core.folders import Folders, standard_models
from comfy_core.memory import Memory
from comfy_core.nodes import built_in
from comfy_core.registry import Registry, Services

HERE = Path(__file__).resolve().parent
FACTS: dict[str, dict[str, Any]] = json.loads((HERE / "object_info_facts.json").read_text(encoding="utf-8"))
RECORDED = HERE.parents[3] / "shared" / "samples" / "comfyui" / "get_object_info.json"
FILE_INPUTS = {"model_name", "latent", "model_file", "folder"}
"""Inputs whose choices are the files that happen to be there."""
OWN_WORDS = ("description", "output_tooltips")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The built-in nodes over empty folders."""
    base = tmp_path_factory.mktemp("nodes")
    models = standard_models([base / "models"], base)
    folders = Folders(base, base / "input", base / "output", base / "temp", models)
    folders.prepare()
    return built_in(Services(folders, Memory(torch.device("cpu"))))


def comparable(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without texts and files: what a client or a workflow relies on."""
    plain: dict[str, Any] = json.loads(json.dumps(entry))
    for text in OWN_WORDS:
        plain.pop(text, None)
    inputs = plain["input"]
    plain["input"] = {
        group: names if group == "hidden" else [[name, *_without_files(name, given)] for name, given in names.items()]
        for group, names in inputs.items()
    }
    return plain


def _without_files(name: str, given: list[Any]) -> tuple[Any, dict[str, Any]]:
    kind, options = given[0], {key: value for key, value in (given[1:] or [{}])[0].items() if key != "tooltip"}
    if name in FILE_INPUTS or any(key.endswith("_upload") for key in options):
        kind = [] if isinstance(kind, list) else kind
        options.update({"options": []} if "options" in options else {})
    return kind, options


@pytest.mark.parametrize("class_type", FACTS)
def test_a_node_is_declared_as_comfyui_declares_it(registry: Registry, class_type: str) -> None:
    """1.2 /object_info: inputs in order with type, default and range, outputs, category, name and flags."""
    ours = registry.describe(class_type)
    assert ours is not None
    assert ours["name"] == class_type
    assert ours["input_order"] == {group: list(names) for group, names in ours["input"].items()}
    assert comparable({key: ours[key] for key in ours if key not in ("name", "input_order")}) == comparable(
        FACTS[class_type]
    )


@pytest.mark.skipif(not RECORDED.is_file(), reason="needs the recordings of a ComfyUI beside this repository")
def test_every_built_in_node_of_comfyui_is_declared_as_recorded(registry: Registry) -> None:
    """The whole entries, keys included, are those of the recording, own words apart."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    different = []
    for class_type in registry:
        ours = registry.describe(class_type)
        if class_type in recorded and (ours is None or comparable(ours) != comparable(recorded[class_type])):
            different.append(class_type)
    assert different == []


def test_v3_nodes_answer_all_keys(registry: Registry) -> None:
    """A V3 entry carries every key, those that say nothing included; hidden inputs are one-element lists."""
    entry = json.loads(json.dumps(registry.describe("PrimitiveInt")))
    assert {"deprecated", "experimental", "api_node", "output_tooltips", "description"} <= set(entry)
    assert entry["output_tooltips"] == [None]
    assert entry["deprecated"] is False
    assert entry["python_module"] == "comfy_extras.nodes_primitive"
