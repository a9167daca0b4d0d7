"""torch in two steps, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = "import gc, sys; from comfy_core import first_torch; first_torch.begin(); import torch; "
ALL_THERE = (
    "meta = torch.nn.functional.linear(torch.empty(2, 3, device='meta'), torch.empty(4, 3, device='meta')); "
    "assert meta.shape == (2, 4); import torch._dynamo; "
    "assert torch._meta_registrations is sys.modules['torch._meta_registrations']; "
    "assert torch._meta_registrations.meta_index_Tensor"
)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param("first_torch.complete(); first_torch.complete(); ", id="completed"),
        pytest.param("torch._meta_registrations.register_meta; ", id="looked into"),
        pytest.param("import torch._meta_registrations; torch._meta_registrations.aten; ", id="imported by another"),
    ],
)
def test_the_rest_of_torch_comes_when_it_is_needed(between: str) -> None:
    """It is left out at first; afterwards everything is as after a plain import, torch's compiler too."""
    left_out = "assert 'meta_index_Tensor' not in vars(torch._meta_registrations); assert not gc.isenabled(); "
    settled = "; first_torch.settle(); assert gc.isenabled()"
    code = BEGIN + left_out + between + ALL_THERE + settled
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_torch_that_is_there_already_is_left_alone() -> None:
    """A prestart script may have imported it."""
    code = "import torch; before = torch._meta_registrations; " + BEGIN + "assert before is first_torch.complete(); "
    subprocess.run([sys.executable, "-c", code + ALL_THERE], check=True, timeout=120)
