"""Noise schedules measured on models, and LTX-Video's. They know no model and no sampler.

Sources: AYS: Sabour et al. 2024, "Align Your Steps"; optimal steps: Pei et al. 2025, "Optimal Stepsize for Diffusion
Sampling". The numbers between are interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from comfy_core.errors import InputRefused
from comfy_core.nodes.latent import Latent
from comfy_core.nodes.sigmas import MOST_STEPS, SCHEDULERS, ending_in_zero
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

AYS: Mapping[str, tuple[float, ...]] = {
    "SD1": (
        *(14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092),
        *(0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582),
    ),
    "SDXL": (
        *(14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141),
        *(0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582),
    ),
    "SVD": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
OPTIMAL: Mapping[str, tuple[float, ...]] = {
    "FLUX": (0.9968, 0.9886, 0.9819, 0.975, 0.966, 0.9471, 0.9158, 0.8287, 0.5512, 0.2808, 0.001),
    "Wan": (
        *(1.0, 0.997, 0.995, 0.993, 0.991, 0.989, 0.987, 0.985, 0.98, 0.975, 0.973),
        *(0.968, 0.96, 0.946, 0.927, 0.902, 0.864, 0.776, 0.539, 0.208, 0.001),
    ),
    "Chroma": (
        *(0.992, 0.99, 0.988, 0.985, 0.982, 0.978, 0.973, 0.968, 0.961, 0.953, 0.943, 0.931, 0.917, 0.9),
        *(0.881, 0.858, 0.832, 0.802, 0.769, 0.731, 0.69, 0.646, 0.599, 0.55, 0.501, 0.451, 0.402, 0.355),
        *(0.311, 0.27, 0.232, 0.199, 0.169, 0.143, 0.12, 0.101, 0.084, 0.07, 0.058, 0.048, 0.001),
    ),
}
FEW_TOKENS, MANY_TOKENS = 1024, 4096


def from_table(tables: Mapping[str, Sequence[float]], model_type: str, steps: int, denoise: float) -> torch.Tensor:
    """[n + 1], ending in 0: the last part of the table stretched to `steps`. Raises InputRefused for no such table."""
    if denoise <= 0:
        return torch.zeros(0)
    if model_type not in tables:
        raise InputRefused(f"there is no schedule for {model_type[:50]!r}")
    table = tables[model_type]
    wanted = steps if denoise >= 1 else round(steps * denoise)
    values = list(table) if len(table) == steps + 1 else _stretched(table, steps + 1)
    values = values[-(wanted + 1) :]
    values[-1] = 0.0
    return torch.tensor(values)


def _stretched(table: Sequence[float], count: int) -> list[float]:
    """Linear in the logarithm."""
    logs = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(table)), np.log(table[::-1]))
    return [float(value) for value in np.exp(logs)[::-1]]


def _schema(node_id: str, models: list[str], steps: io.Input) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        category=SCHEDULERS,
        inputs=[
            io.Combo.Input("model_type", options=models),
            steps,
            io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01),
        ],
        outputs=[io.Sigmas.Output()],
    )


class AlignYourStepsScheduler(BuiltIn, io.ComfyNode):
    """Schedules that lose least, found per model."""

    PYTHON_MODULE = "comfy_extras.nodes_align_your_steps"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        steps = io.Int.Input("steps", default=10, min=1, max=MOST_STEPS)
        return _schema("AlignYourStepsScheduler", list(AYS), steps)

    @classmethod
    def execute(cls, model_type: str, steps: int, denoise: float) -> io.NodeOutput:
        """Ten steps are the table itself."""
        return io.NodeOutput(from_table(AYS, model_type, steps, denoise))


class OptimalStepsScheduler(BuiltIn, io.ComfyNode):
    """Schedules found by searching for the best few of many steps."""

    PYTHON_MODULE = "comfy_extras.nodes_optimalsteps"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        steps = io.Int.Input("steps", default=20, min=3, max=1000)
        return _schema("OptimalStepsScheduler", list(OPTIMAL), steps)

    @classmethod
    def execute(cls, model_type: str, steps: int, denoise: float) -> io.NodeOutput:
        """FLUX's table has ten steps, Wan's twenty and Chroma's forty."""
        return io.NodeOutput(from_table(OPTIMAL, model_type, steps, denoise))


class LTXVScheduler(BuiltIn, io.ComfyNode):
    """A straight flow, shifted by how many tokens the video has."""

    PYTHON_MODULE = "comfy_extras.nodes_lt"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LTXVScheduler",
            category=SCHEDULERS,
            inputs=[
                io.Int.Input("steps", default=20, min=1, max=MOST_STEPS),
                io.Float.Input("max_shift", default=2.05, min=0.0, max=100.0, step=0.01),
                io.Float.Input("base_shift", default=0.95, min=0.0, max=100.0, step=0.01),
                io.Boolean.Input("stretch", default=True, tooltip="Whether the last step ends at the terminal value."),
                io.Float.Input(
                    "terminal", default=0.1, min=0.0, max=0.99, step=0.01, tooltip="Where a stretched schedule ends."
                ),
                io.Latent.Input("latent", optional=True),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(
        cls,
        steps: int,
        max_shift: float,
        base_shift: float,
        stretch: bool,
        terminal: float,
        latent: Latent | None = None,
    ) -> io.NodeOutput:
        """The shift is linear in the tokens: base_shift at 1024, max_shift at 4096, which is also the default."""
        tokens = MANY_TOKENS if latent is None else math.prod(latent["samples"].shape[2:])
        slope = (max_shift - base_shift) / (MANY_TOKENS - FEW_TOKENS)
        grown = math.exp(tokens * slope + base_shift - slope * FEW_TOKENS)
        line = torch.linspace(1.0, 0.0, steps + 1)[:-1]
        sigmas = grown / (grown + (1 / line - 1))
        if stretch:
            done = 1.0 - sigmas
            sigmas = 1.0 - done / (done[-1] / (1.0 - terminal))
        return io.NodeOutput(ending_in_zero(sigmas))


NODES: tuple[type[BuiltIn], ...] = (AlignYourStepsScheduler, OptimalStepsScheduler, LTXVScheduler)
