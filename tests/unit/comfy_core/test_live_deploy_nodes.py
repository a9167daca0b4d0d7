"""The two ends of a real-time workflow in a run that is none: the default goes through, pictures go over the socket."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfy_core.progress import Scope, scope
from tests.unit.comfy_core.bound_nodes import call

INPUT, OUTPUT = "ComfyDeployWebscoketImageInput", "ComfyDeployWebscoketImageOutput"


def test_the_default_goes_through() -> None:
    """Without a client's picture an input gives its default, or black."""
    default = torch.rand(1, 4, 6, 3)
    (given,) = call(INPUT, input_id="camera", seed=0, default_value=default)
    (black,) = call(INPUT, input_id="camera", seed=0)
    assert torch.equal(given, default)
    assert (tuple(black.shape), float(black.max())) == ((1, 512, 512, 3), 0.0)


@pytest.mark.parametrize(("asked", "sent"), [("WEBP", "JPEG"), ("PNG", "PNG"), ("JPEG", "JPEG")])
def test_an_output_sends_each_picture_and_writes_nothing(asked: str, sent: str) -> None:
    """Each frame is a step of progress in its own size; nothing is left to show."""
    heard: list[Any] = []
    token = scope.set(Scope("p", "n", lambda *said: heard.append(said), lambda: False))
    try:
        assert call(OUTPUT, output_id="screen", images=torch.zeros(2, 4, 6, 3), file_type=asked, quality=80) == {}
    finally:
        scope.reset(token)
    assert [(said[3][0], said[3][1].size) for said in heard] == [(sent, (6, 4))] * 2
