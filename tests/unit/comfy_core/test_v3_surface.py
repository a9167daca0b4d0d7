"""What V3 packs import, in a process of its own, and the progress they report through it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from comfy_core import progress
from comfy_core.errors import InputRefused
from comfy_core.v3.api import ComfyAPI, ComfyAPISync

ROOT = Path(__file__).resolve().parents[3]
IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
from comfy_api.latest import ComfyExtension, ComfyAPI, ComfyAPISync, Input, InputImpl, Types, comfy_io, io, ui
from comfy_api.latest._io import ComfyNode, Schema
from comfy_api.v0_0_1 import ComfyAPI as First, io as first_io
from comfy_api.v0_0_2 import ComfyAPI as Second, ComfyAPISync as SecondSync, ui as second_ui
from comfy_api.input import AudioInput, VideoInput
from comfy_api.input.basic_types import ImageInput
from comfy_api.input_impl.video_types import VideoFromFile
from comfy_api.util import VideoCodec, VideoComponents, VideoContainer
from comfy_api.torch_helpers import set_torch_compile_wrapper
assert comfy_io is io is first_io and second_ui is ui and ComfyNode is io.ComfyNode
assert InputImpl.VideoFromFile is VideoFromFile and issubclass(VideoFromFile, Input.Video)
assert (First.VERSION, Second.VERSION) == ("0.0.1", "0.0.2")

class Extension(ComfyExtension):
    async def get_node_list(self):
        return []

assert Extension() is not None
try:
    set_torch_compile_wrapper(None, "inductor")
except Exception as error:
    assert "diffusion models" in str(error)
else:
    raise SystemExit("compiling what is not there succeeded")

from comfy.comfy_types import IO, CheckLazyMixin, ComfyNodeABC, InputTypeDict
from comfy.comfy_types.node_typing import ComfyNodeABC as Same, FileLocator
assert ComfyNodeABC is Same
assert not (IO.ANY != "IMAGE") and not ("IMAGE" != IO.ANY) and not ("INT" != IO.NUMBER)
assert IO.PRIMITIVE != "IMAGE" and IO.INT == "INT" and f"{IO.ANY}" == "*" and {"INT": 1}[IO.INT] == 1
assert CheckLazyMixin().check_lazy_status(a=None, b=1) == ["a"]
"""


def test_packs_find_the_api() -> None:
    """Every home of the names imports without a warning and leads to the same classes."""
    compat = ROOT / "comfy_core" / "compat"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTS, str(compat)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def heard() -> Any:
    """What a running node "1" that was asked to stop reports."""
    told: list[Any] = []
    token = progress.scope.set(progress.Scope("p", "1", lambda *said: told.append(said), lambda: True))
    yield told
    progress.scope.reset(token)


def test_progress_is_reported_and_does_not_interrupt(heard: list[Any]) -> None:
    """2.10.8: awaited or blocking, the report names the running node or another; an interrupt is not its business."""
    asyncio.run(ComfyAPI().execution.set_progress(1, 4))
    ComfyAPISync().execution.set_progress(value=2, max_value=4, node_id="7")
    assert heard == [("1", 1, 4, None), ("7", 2, 4, None)]


def test_previews_travel_with_progress(heard: list[Any]) -> None:
    """Tensors, PIL images and ready-made triples come out as triples; the size limit can be lifted."""
    picture = Image.new("RGB", (8, 4))
    report = ComfyAPISync().execution.set_progress
    report(1, 4, preview_image=torch.full((1, 4, 8, 3), 0.5))
    report(2, 4, preview_image=picture, ignore_size_limit=True)
    report(3, 4, preview_image=("JPEG", picture, 64))
    previews = [said[3] for said in heard]
    assert [(kind, image.size, side) for kind, image, side in previews] == [
        ("PNG", (8, 4), 512),
        ("PNG", (8, 4), None),
        ("JPEG", (8, 4), 64),
    ]
    with pytest.raises(InputRefused, match="not str"):
        report(4, 4, preview_image="picture")


def test_outside_a_run_nobody_hears() -> None:
    """Code of a pack that runs on its own may report all the same."""
    ComfyAPISync().execution.set_progress(1, 2)
    asyncio.run(ComfyAPI().execution.set_progress(1, 2))
