"""Image and mask workflows whose results ComfyUI made, run through our server. Skipped where those are not at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.executor.process import ROOT, Client, Executor

pytestmark = pytest.mark.anyio
PARITY = ROOT.parent / "shared/parity"
EXPECTED = PARITY / "reference2/light"
NAMES = sorted(
    path.stem
    for path in (PARITY / "workflows").glob("*.json")
    if path.stem.startswith(("img_", "mask_")) and (EXPECTED / f"{path.stem}.png").is_file()
)


def values(path: Path) -> np.ndarray:
    """The 8-bit values of a file."""
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


@pytest.mark.parametrize("name", NAMES or [pytest.param("", marks=pytest.mark.skip(reason="no references here"))])
async def test_results_are_those_of_comfyui(client: Client, executor: Executor, inputs: Path, name: str) -> None:
    """Every image of the workflow, to the last bit."""
    shutil.copy(PARITY / "inputs/parity_input.png", inputs)
    prompt: dict[str, Any] = json.loads((PARITY / f"workflows/{name}.json").read_text())
    entry, _ = await client.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]
    made = [item for shown in entry["outputs"].values() for item in shown["images"]]
    for index, item in enumerate(made):
        result = values(executor.base / item["type"] / item["subfolder"] / item["filename"])
        expected = values(EXPECTED / f"{name}{f'_{index}' if index else ''}.png")
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() == 0
