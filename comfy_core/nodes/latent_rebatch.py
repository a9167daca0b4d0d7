"""The node that cuts a list of latent batches anew. It knows nothing of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.latent import Latent, repeated
from comfy_core.nodes.latent_resize import CELL
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io


@dataclass(slots=True)
class Run:
    """Neighbouring latents of one size, joined. mask: [B, 1, H, W] or None where no item has one."""

    samples: torch.Tensor
    mask: torch.Tensor | None
    indices: list[int]

    def joined(self, other: Run) -> Run:
        """Both, one after the other. Raises InputRefused where they do not fit."""
        mask = None
        if self.mask is not None or other.mask is not None:
            mask = _cat(_mask_or_ones(self), _mask_or_ones(other), "noise masks")
        return Run(_cat(self.samples, other.samples, "latents"), mask, self.indices + other.indices)

    def cut(self, start: int, end: int) -> Run:
        """Some of the items."""
        mask = None if self.mask is None else self.mask[start:end]
        return Run(self.samples[start:end], mask, self.indices[start:end])

    def as_latent(self) -> Latent:
        """A LATENT."""
        made: dict[str, Any] = {"samples": self.samples, "batch_index": self.indices}
        return made if self.mask is None else {**made, "noise_mask": self.mask}


def _cat(first: torch.Tensor, second: torch.Tensor, what: str) -> torch.Tensor:
    if first.shape[1:] != second.shape[1:]:
        raise InputRefused(f"{what} of shapes {list(first.shape)} and {list(second.shape)} cannot share a batch")
    require((first.numel() + second.numel()) * first.element_size(), f"joining {what}")
    return torch.cat((first, second))


def _mask_or_ones(run: Run) -> torch.Tensor:
    if run.mask is not None:
        return run.mask
    batch, (height, width) = run.samples.shape[0], run.samples.shape[-2:]
    return torch.ones((batch, 1, height * CELL, width * CELL))


def _run_of(latent: Latent, first: int) -> Run:
    """One latent; without batch indices of its own it takes those from `first` on."""
    samples, mask = latent["samples"], latent.get("noise_mask")
    if samples.ndim < 4:
        raise InputRefused(f"a latent of shape {list(samples.shape)} cannot be cut into batches anew")
    batch = samples.shape[0]
    if mask is not None:
        mask = repeated(mask.reshape((-1, 1, *mask.shape[-2:])), batch)
    return Run(samples, mask, list(latent.get("batch_index", range(first, first + batch))))


class RebatchLatents(BuiltIn, io.ComfyNode):
    """A list of batches cut anew into batches of one size; only the last of a size may be smaller."""

    PYTHON_MODULE = "comfy_extras.nodes_rebatch"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="RebatchLatents",
            display_name="Rebatch Latents",
            category="latent/batch",
            is_input_list=True,
            inputs=[io.Latent.Input("latents"), io.Int.Input("batch_size", default=1, min=1, max=4096)],
            outputs=[io.Latent.Output(is_output_list=True)],
        )

    @classmethod
    def execute(cls, latents: list[Latent], batch_size: list[int]) -> io.NodeOutput:
        """Latents of another height or width than their neighbours begin a new batch."""
        runs, done = [], 0
        for latent in latents:
            runs.append(_run_of(latent, done))
            done += runs[-1].samples.shape[0]
        made: list[Latent] = []
        for _, neighbours in groupby(runs, key=lambda run: run.samples.shape[-2:]):
            made += [batch.as_latent() for batch in _batches(neighbours, batch_size[0])]
        return io.NodeOutput(made)


def _batches(runs: Iterable[Run], size: int) -> Iterator[Run]:
    """The items of the runs, `size` at a time."""
    pieces: list[Run] = []
    room = size
    for run in runs:
        start, count = 0, run.samples.shape[0]
        while start < count:
            end = min(count, start + room)
            pieces.append(run.cut(start, end))
            room -= end - start
            start = end
            if room == 0:
                yield reduce(Run.joined, pieces)
                pieces, room = [], size
    if pieces:
        yield reduce(Run.joined, pieces)


NODES: tuple[type[BuiltIn], ...] = (RebatchLatents,)
