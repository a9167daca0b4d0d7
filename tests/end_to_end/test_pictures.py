"""Inputs go in, outputs come out: pictures, numbers and text through real executors, compared value by value."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.system import EXTERNAL, coloured, is_square_of, node, scaled_picture

pytestmark = pytest.mark.anyio


def noise(width: int, height: int, seed: int) -> Image.Image:
    """A picture without two equal corners."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def expected(image: Image.Image, width: int, height: int, method: str) -> np.ndarray:
    """What torch or Pillow make of it."""
    if method == "lanczos":
        bands = [band.resize((width, height), Image.Resampling.LANCZOS) for band in image.split()]
        return np.asarray(Image.merge("RGB", bands)).astype(int)
    planes = torch.from_numpy(np.asarray(image).astype(np.float32) / 255.0).permute(2, 0, 1)[None]
    scaled = torch.nn.functional.interpolate(planes, size=(height, width), mode=method)[0].permute(1, 2, 0)
    return np.clip(scaled.numpy() * 255.0, 0, 255).astype(np.uint8).astype(int)


@pytest.mark.parametrize("method", ["area", "lanczos", "nearest-exact"])
async def test_an_uploaded_picture_comes_back_scaled_pixel_for_pixel(team, method):
    """Upload, upload a workflow, deploy, run, download: the very pixels that the method makes of it."""
    image = noise(64, 48, seed=len(method))
    file = await team.upload("noise.png", as_png(image))
    deployment = await team.deploy(scaled_picture(40, 20, method))
    run = await team.succeed(await team.start(deployment, {"picture": {"file_id": file["id"]}}))
    output = run["outputs"][0]
    assert (output["node_id"], output["content_type"]) == ("3", "image/png")
    got = np.asarray(await team.picture(run)).astype(int)
    assert got.shape == (20, 40, 3)
    assert np.array_equal(got, expected(image, 40, 20, method))


async def test_each_run_of_one_deployment_has_its_own_inputs(team):
    """Ten runs at once, each with another number, each with the colour of that number."""
    deployment = await team.deploy(coloured(16))
    runs = {0x010203 * number: None for number in range(1, 11)}
    for colour in runs:
        runs[colour] = await team.start(deployment, {"colour": colour})
    for colour, run_id in runs.items():
        assert is_square_of(await team.picture(await team.succeed(run_id)), colour, 16)


async def test_a_number_and_a_text_reach_the_nodes_that_ask_for_them(team):
    """The number becomes the width; the text comes back as a value and as a file, letter for letter."""
    graph = {
        "1": node(f"{EXTERNAL}NumberInt", input_id="width", default_value=8),
        "2": node("EmptyImage", width=["1", 0], height=4, batch_size=1, color=0xFF8000),
        "3": node("SaveImage", images=["2", 0], filename_prefix="wide"),
        "4": node(f"{EXTERNAL}Text", input_id="words", default_value="nothing"),
        "5": node("PreviewAny", source=["4", 0]),
        "6": node("ComfyDeployOutputText", text=["4", 0], filename_prefix="words", file_type="txt"),
    }
    words = 'naïve 雨 "quoted"\n{braces} fleet-file:x'
    deployment = await team.deploy(graph)
    run = await team.succeed(await team.start(deployment, {"width": 24, "words": words}))
    outputs = {output["node_id"]: output for output in run["outputs"]}
    assert outputs.keys() == {"3", "5", "6"}
    assert (await team.picture(run)).size == (24, 4)
    assert outputs["5"]["data"] == [words]
    text = await team.anybody.get(outputs["6"]["url"])
    assert text.content.decode() == words
    left_alone = await team.succeed(await team.start(deployment))
    assert (await team.picture(left_alone)).size == (8, 4)


async def test_a_node_that_fails_is_named(team):
    """A text where a picture should be: the run fails at once, names the node and its class, and is not repeated."""
    file = await team.upload("picture.png", b"these are only words")
    deployment = await team.deploy(scaled_picture(8, 8))
    run_id = await team.start(deployment, {"picture": {"file_id": file["id"]}})
    run = await team.until_status(run_id, "failed")
    assert run["failure"]["kind"] == "node_error"
    assert run["failure"]["node_id"] == "1"
    assert run["failure"]["node_type"] == f"{EXTERNAL}Image"
    assert run["attempts"] == 1
    assert not run.get("outputs")


async def test_a_graph_that_the_executor_refuses_is_a_failed_run_with_the_node(team):
    """A method that does not exist passes the orchestrator, which knows no node, and is refused by the machine."""
    run_id = await team.start(await team.deploy(scaled_picture(8, 8, "by magic")))
    run = await team.until_status(run_id, "failed")
    assert run["failure"]["kind"] == "bad_graph"
    assert run["failure"]["node_id"] == "2"
    assert "by magic" in run["failure"]["message"]
