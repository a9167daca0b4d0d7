"""Latents through the whole executor: what ComfyUI made of the same workflows, files that come back, bad files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.executor.process import ROOT, Client, Executor, n

pytestmark = pytest.mark.anyio
PARITY = ROOT.parent / "shared" / "parity"
LIGHT = PARITY / "reference2" / "light"
CASES = sorted(path.stem for path in LIGHT.glob("lat_*.latent"))
RELATIVE = 1e-6


def saved(executor: Executor, entry: dict[str, Any]) -> Path:
    """Where the latent of a run lies."""
    (item,) = next(outputs["latents"] for outputs in entry["outputs"].values() if "latents" in outputs)
    return executor.base / item["type"] / item["subfolder"] / item["filename"]


@pytest.mark.skipif(not CASES, reason="the recorded latents are not beside this checkout")
async def test_recorded_latents_are_met(client: Client, executor: Executor, inputs: Path) -> None:
    """Each recorded workflow gives the recorded samples, to a millionth of the largest."""
    for file in (PARITY / "inputs").iterdir():
        shutil.copy(file, inputs)
    for case in CASES:
        prompt = json.loads((PARITY / "workflows" / f"{case}.json").read_text())
        entry, _ = await client.run(prompt)
        assert entry["status"]["status_str"] == "success", case
        made, recorded = load_file(saved(executor, entry)), load_file(LIGHT / f"{case}.latent")
        assert set(made) == set(recorded)
        wanted = recorded["latent_tensor"]
        worst = (made["latent_tensor"] - wanted).abs().max() / wanted.abs().max()
        assert worst <= RELATIVE, case


async def test_a_saved_latent_comes_back(client: Client, executor: Executor, inputs: Path) -> None:
    """The file holds samples, marker and workflow; loaded and saved again it holds the same samples."""
    samples = torch.randn((2, 4, 3, 5), generator=torch.Generator().manual_seed(1))
    save_file({"latent_tensor": samples, "latent_format_version_0": torch.zeros(0)}, inputs / "mine.latent")
    prompt = {
        "load": n("LoadLatent", latent="mine.latent"),
        "save": n("SaveLatent", samples=["load", 0], filename_prefix="latents/mine"),
    }
    entry, _ = await client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"id": 7}}})
    path = saved(executor, entry)
    assert path.name == "mine_00001_.latent"
    assert torch.equal(load_file(path)["latent_tensor"], samples)
    with safe_open(path, framework="pt") as opened:
        said = opened.metadata()
    assert json.loads(said["workflow"]) == {"id": 7}
    assert json.loads(said["prompt"])["load"]["class_type"] == "LoadLatent"


async def test_a_latent_without_marker_is_of_the_old_scale(client: Client, executor: Executor, inputs: Path) -> None:
    """Its values are divided by Stable Diffusion 1's factor."""
    save_file({"latent_tensor": torch.full((1, 4, 1, 1), 0.18215)}, inputs / "old.latent")
    prompt = {
        "load": n("LoadLatent", latent="old.latent"),
        "save": n("SaveLatent", samples=["load", 0], filename_prefix="x"),
    }
    entry, _ = await client.run(prompt)
    torch.testing.assert_close(load_file(saved(executor, entry))["latent_tensor"], torch.ones(1, 4, 1, 1))


async def test_bad_latent_files_are_named_and_the_server_lives_on(client: Client, inputs: Path) -> None:
    """Cut short, foreign, without samples, outside: an error with the file's name; NaN is a value like others."""
    save_file({"other": torch.zeros(1)}, inputs / "other.latent")
    whole = (inputs / "other.latent").read_bytes()
    (inputs / "cut.latent").write_bytes(whole[:-2])
    (inputs / "foreign.latent").write_text("no latent")
    for name in ("other.latent", "cut.latent", "foreign.latent"):
        prompt = {
            "load": n("LoadLatent", latent=name),
            "save": n("SaveLatent", samples=["load", 0], filename_prefix="x"),
        }
        entry, heard = await client.run(prompt)
        assert entry["status"]["status_str"] == "error"
        (error,) = [message["data"] for message in heard if message["type"] == "execution_error"]
        assert name in error["exception_message"]
    outside = {
        "load": n("LoadLatent", latent="../other.latent"),
        "save": n("SaveLatent", samples=["load", 0], filename_prefix="x"),
    }
    status, body = await client.post("/prompt", {"prompt": outside})
    assert status == 400
    assert body["node_errors"]["load"]["errors"][0]["type"] == "custom_validation_failed"
    save_file({"latent_tensor": torch.full((1, 4, 8, 8), float("nan"))}, inputs / "nan.latent")
    prompt = {
        "load": n("LoadLatent", latent="nan.latent"),
        "up": n("LatentUpscaleBy", samples=["load", 0], upscale_method="bislerp", scale_by=2.0),
        "save": n("SaveLatent", samples=["up", 0], filename_prefix="x"),
    }
    entry, _ = await client.run(prompt)
    assert entry["status"]["status_str"] == "success"


async def test_text_becomes_a_preview(client: Client) -> None:
    """V3 nodes of the text theme run in the engine, by their checked inputs."""
    prompt = {
        "join": n("StringConcatenate", string_a="cats", string_b="dogs", delimiter=" and "),
        "swap": n("RegexReplace", string=["join", 0], regex_pattern=r"(\w+) and (\w+)", replace=r"\2 & \1"),
        "show": n("PreviewAny", source=["swap", 0]),
    }
    entry, _ = await client.run(prompt)
    assert entry["outputs"]["show"]["text"] == ["dogs & cats"]
