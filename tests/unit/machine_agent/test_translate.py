"""Deployed workflows in the words of an executor that lacks the deployment nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from machine_agent.errors import AttemptFailed
from machine_agent.translate import LARGEST_SEED, translatable, translate, wanted

CORE = {"LoadImage", "SaveImage", "ImageBatch", "JoinImageWithAlpha", "PreviewAny", "KSampler", "Show"}
E = "ComfyUIDeployExternal"


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def shown(source: dict[str, Any], **others: Any) -> dict[str, Any]:
    """What remains of a workflow in which node x feeds node o."""
    return translate({"x": source, **others, "o": n("Show", value=["x", 0])}, CORE)


def test_an_image_is_loaded_and_keeps_its_node() -> None:
    """The node's id and what is linked to it stay."""
    result = shown({**n(f"{E}Image", input_id="fleet/a.png"), "_meta": {"title": "T"}})
    assert result["x"] == {**n("LoadImage", image="fleet/a.png"), "_meta": {"title": "T"}}
    assert result["o"]["inputs"]["value"] == ["x", 0]


def test_an_image_that_was_not_given_is_its_default() -> None:
    """A default link passes through, also through two such nodes; a default name is loaded; none is an error."""
    assert shown(n(f"{E}Image", input_id="photo", default_value=["d", 1]))["o"]["inputs"]["value"] == ["d", 1]
    through = n(f"{E}Image", input_id="p", default_value=["y", 0])
    result = shown(through, y=n(f"{E}Image", input_id="q", default_value=["d", 2]))
    assert result == {"o": n("Show", value=["d", 2])}
    named = shown(n(f"{E}Image", input_id="photo", default_value_url="example.png"))
    assert named["x"]["inputs"] == {"image": "example.png"}
    with pytest.raises(AttemptFailed, match="neither a file nor a default") as caught:
        shown(n(f"{E}Image", input_id="photo"))
    assert (caught.value.failure.kind, caught.value.failure.node_id) == ("bad_graph", "x")


def test_alpha_and_batches() -> None:
    """An image with alpha is joined from both halves; a batch is a chain; one image needs none."""
    alpha = shown(n(f"{E}ImageAlpha", input_id="fleet/a.png"))
    assert alpha["x"] == n("JoinImageWithAlpha", image=["x.load", 0], alpha=["x.load", 1])
    batch = shown(n(f"{E}ImageBatch", input_id="[]", images=json.dumps(["fleet/1.png", "fleet/2.png", "fleet/3.png"])))
    assert batch["o"]["inputs"]["value"] == ["x.2.batch", 0]
    assert batch["x.2.batch"] == n("ImageBatch", image1=["x.1.batch", 0], image2=["x.2", 0])
    single = shown(n(f"{E}ImageBatch", input_id="[]", images='["fleet/1.png"]'))
    assert single["o"]["inputs"]["value"] == ["x.0", 0]


@pytest.mark.parametrize(
    ("kind", "inputs", "expected"),
    [
        ("Text", {"input_id": "hello", "default_value": "hello"}, "hello"),
        ("Boolean", {"input_id": "b", "default_value": True}, True),
        ("Enum", {"input_id": "e", "default_value": "euler", "options": "[]"}, "euler"),
        ("Checkpoint", {"input_id": "sd.ckpt", "default_value": "sd.ckpt"}, "sd.ckpt"),
        ("Lora", {"input_id": "l", "lora_url": "x.safetensors"}, "x.safetensors"),
        ("Lora", {"input_id": "l", "lora_url": "", "default_lora_name": "d.safetensors"}, "d.safetensors"),
        ("Number", {"input_id": "2.5", "default_value": 1}, 2.5),
        ("Number", {"input_id": "strength", "default_value": 1}, 1),
        ("NumberInt", {"input_id": "7.0", "default_value": 1}, 7),
        ("NumberInt", {"input_id": 0, "default_value": 1}, 0),
        ("NumberSlider", {"input_id": "3", "default_value": 0.5, "min_value": 0, "max_value": 1}, 0.5),
        ("NumberSliderInt", {"input_id": "3", "default_value": 1, "min_value": 0, "max_value": 10}, 3),
        ("Seed", {"input_id": "s", "default_value": 5, "min_value": 1, "max_value": 9}, 5),
    ],
)
def test_values_take_the_place_of_links(kind: str, inputs: dict[str, Any], expected: Any) -> None:
    """The node goes; what was linked to it has the value."""
    assert shown(n(f"{E}{kind}", **inputs)) == {"o": n("Show", value=expected)}


def test_a_seed_that_is_not_given_is_drawn_within_its_bounds() -> None:
    """And drawn anew each time."""
    drawn = {shown(n(f"{E}Seed", input_id="s", default_value=-1))["o"]["inputs"]["value"] for _ in range(5)}
    assert len(drawn) > 1
    assert all(1 <= seed <= LARGEST_SEED for seed in drawn)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (n(f"{E}Image", input_id="data:image/png;base64,AA=="), "data: URL"),
        (n(f"{E}Lora", input_id="l", lora_url="https://x/y.safetensors"), "URL cannot be fetched"),
        (n(f"{E}ImageBatch", input_id="i", images="{"), "not a JSON list"),
        (n("ComfyDeployOutputImage", images=["a", 0], file_type="webp"), "do not write webp"),
    ],
)
def test_what_core_nodes_cannot_do_is_said(node: dict[str, Any], words: str) -> None:
    """The node is named with the reason."""
    with pytest.raises(AttemptFailed, match=words):
        translate({"x": node}, CORE)


def test_outputs() -> None:
    """Images are saved, texts shown, under the same node."""
    workflow = {
        "i": n("ComfyDeployOutputImage", images=["a", 0], filename_prefix="p", file_type="png", quality=80),
        "t": n("ComfyDeployOutputText", text=["b", 0], filename_prefix="p"),
    }
    assert translate(workflow, CORE) == {
        "i": n("SaveImage", filename_prefix="p", images=["a", 0]),
        "t": n("PreviewAny", source=["b", 0]),
    }


def test_an_executor_that_has_the_nodes_keeps_them() -> None:
    """Nothing is said in other words than needed, and the workflow given is not changed."""
    workflow = {"x": n(f"{E}Image", input_id="fleet/a.png"), "o": n("Show", value=["x", 0])}
    before = json.dumps(workflow)
    assert translate(workflow, {*CORE, f"{E}Image"}) == workflow
    translate(workflow, CORE)
    assert json.dumps(workflow) == before
    assert wanted(workflow) == {f"{E}Image"}
    assert wanted({"o": n("Show")}) == set()


def test_what_can_be_said_is_offered() -> None:
    """A class counts as there when the nodes it is said with are."""
    assert f"{E}ImageAlpha" in translatable(CORE)
    assert f"{E}ImageAlpha" not in translatable({"LoadImage"})
    assert f"{E}Text" in translatable(set())
    assert f"{E}Text" not in translatable({f"{E}Text"})
