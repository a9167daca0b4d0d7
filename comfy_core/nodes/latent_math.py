"""Nodes that calculate with latents: sums, mixtures, joining and cutting. They know no model."""

from __future__ import annotations

from typing import Any

import torch

from comfy_core.errors import InputRefused
from comfy_core.memory import require
from comfy_core.nodes.latent import Latent, repeated
from comfy_core.nodes.latent_resize import resize_latent
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

FURTHEST = 16384
AXES = {"x": -1, "y": -2, "t": -3}


def fitted(second: torch.Tensor, first: torch.Tensor, *, batch: bool = True) -> torch.Tensor:
    """`second` with the height and width of `first` (bilinear, cut at the centre) and, if wanted, its batch size."""
    if second.shape[1:] != first.shape[1:]:
        second = resize_latent(second, first.shape[-1], first.shape[-2], "bilinear", crop=True)
    return repeated(second, first.shape[0]) if batch else second


def _pair(node_id: str, category: str = "latent/advanced", *more: io.Input) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        category=category,
        inputs=[io.Latent.Input("samples1"), io.Latent.Input("samples2"), *more],
        outputs=[io.Latent.Output()],
    )


class Latents(BuiltIn, io.ComfyNode):
    """Base of the nodes of this theme. Not a node itself."""

    PYTHON_MODULE = "comfy_extras.nodes_latent"


class LatentAdd(Latents):
    """The sum."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return _pair("LatentAdd")

    @classmethod
    def execute(cls, samples1: Latent, samples2: Latent) -> io.NodeOutput:
        """The second takes the first one's size and batch."""
        first = samples1["samples"]
        return io.NodeOutput({**samples1, "samples": first + fitted(samples2["samples"], first)})


class LatentSubtract(Latents):
    """The difference."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return _pair("LatentSubtract")

    @classmethod
    def execute(cls, samples1: Latent, samples2: Latent) -> io.NodeOutput:
        """The second takes the first one's size and batch."""
        first = samples1["samples"]
        return io.NodeOutput({**samples1, "samples": first - fitted(samples2["samples"], first)})


class LatentMultiply(Latents):
    """Every value times a number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LatentMultiply",
            category="latent/advanced",
            inputs=[
                io.Latent.Input("samples"),
                io.Float.Input("multiplier", default=1.0, min=-10.0, max=10.0, step=0.01),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: Latent, multiplier: float) -> io.NodeOutput:
        """The rest of the latent travels along."""
        return io.NodeOutput({**samples, "samples": samples["samples"] * multiplier})


class LatentInterpolate(Latents):
    """Direction and length of each cell's channels, mixed apart from one another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        ratio = io.Float.Input("ratio", default=1.0, min=0.0, max=1.0, step=0.01)
        return _pair("LatentInterpolate", "latent/advanced", ratio)

    @classmethod
    def execute(cls, samples1: Latent, samples2: Latent, ratio: float) -> io.NodeOutput:
        """`ratio` of the first, the rest of the second; cells without length have no direction."""
        first = samples1["samples"]
        mixed = _mixed(first, fitted(samples2["samples"], first), ratio)
        return io.NodeOutput({**samples1, "samples": mixed})


def _mixed(first: torch.Tensor, second: torch.Tensor, ratio: float) -> torch.Tensor:
    lengths = [torch.linalg.vector_norm(one, dim=1, keepdim=True) for one in (first, second)]
    units = [torch.nan_to_num(one / length) for one, length in zip((first, second), lengths, strict=True)]
    mixed: torch.Tensor = units[0] * ratio + units[1] * (1.0 - ratio)
    length = torch.linalg.vector_norm(mixed, dim=1, keepdim=True)
    mixed = torch.nan_to_num(mixed / length)
    mixed *= lengths[0] * ratio + lengths[1] * (1.0 - ratio)
    return mixed


class LatentConcat(Latents):
    """Side by side, one above the other, or one after the other in time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        dim = io.Combo.Input("dim", options=["x", "-x", "y", "-y", "t", "-t"])
        return _pair("LatentConcat", "latent/advanced", dim)

    @classmethod
    def execute(cls, samples1: Latent, samples2: Latent, dim: str) -> io.NodeOutput:
        """A minus puts the second first. Without time, t joins the channels."""
        first = samples1["samples"]
        parts = [first, repeated(samples2["samples"], first.shape[0])]
        require(sum(part.numel() * part.element_size() for part in parts), "LatentConcat")
        joined = torch.cat(parts[::-1] if dim.startswith("-") else parts, dim=_axis(dim.removeprefix("-"), first))
        return io.NodeOutput({**samples1, "samples": joined})


def _axis(name: str, samples: torch.Tensor) -> int:
    """The dimension of an axis. Raises InputRefused for an unknown one, and where there is none but the batch's."""
    axis = AXES.get(name)
    if axis is None or samples.ndim + axis < 1:
        raise InputRefused(f"a latent of shape {list(samples.shape)} has no axis {name[:20]!r}")
    return samples.ndim + axis


class LatentCut(Latents):
    """A stretch along one axis."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LatentCut",
            category="latent/advanced",
            inputs=[
                io.Latent.Input("samples"),
                io.Combo.Input("dim", options=["x", "y", "t"]),
                io.Int.Input("index", default=0, min=-FURTHEST, max=FURTHEST, step=1),
                io.Int.Input("amount", default=1, min=1, max=FURTHEST, step=1),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: Latent, dim: str, index: int, amount: int) -> io.NodeOutput:
        """A negative index counts from the end; what lies outside is moved to the border."""
        values = samples["samples"]
        axis = _axis(dim, values)
        size = values.shape[axis]
        start = min(index, size - 1) if index >= 0 else max(index + size, 0)
        return io.NodeOutput({**samples, "samples": values.narrow(axis, start, min(amount, size - start))})


class LatentBatch(Latents):
    """Two batches after one another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return _pair("LatentBatch", "latent/batch")

    @classmethod
    def execute(cls, samples1: Latent, samples2: Latent) -> io.NodeOutput:
        """The second takes the first one's size; each keeps its draws of the noise."""
        first = samples1["samples"]
        second = fitted(samples2["samples"], first, batch=False)
        require((first.numel() + second.numel()) * first.element_size(), "LatentBatch")
        indices = [*_indices(samples1), *_indices(samples2)]
        return io.NodeOutput({**samples1, "samples": torch.cat((first, second)), "batch_index": indices})


def _indices(samples: Latent) -> list[int]:
    return list(samples.get("batch_index", range(samples["samples"].shape[0])))


class LatentBatchSeedBehavior(Latents):
    """Whether the items of a batch get noise of their own or all the same."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="LatentBatchSeedBehavior",
            category="latent/advanced",
            inputs=[
                io.Latent.Input("samples"),
                io.Combo.Input("seed_behavior", options=["random", "fixed"], default="fixed"),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: Latent, seed_behavior: str) -> io.NodeOutput:
        """fixed: the first item's draw for all."""
        changed: dict[str, Any] = {key: value for key, value in samples.items() if key != "batch_index"}
        if seed_behavior == "fixed":
            first = _indices(samples)[0]
            changed["batch_index"] = [first] * samples["samples"].shape[0]
        return io.NodeOutput(changed)


class TrimVideoLatent(BuiltIn, io.ComfyNode):
    """Without its first frames."""

    PYTHON_MODULE = "comfy_extras.nodes_wan"

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="TrimVideoLatent",
            category="latent/video",
            inputs=[io.Latent.Input("samples"), io.Int.Input("trim_amount", default=0, min=0, max=99999)],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: Latent, trim_amount: int) -> io.NodeOutput:
        """[B, C, T, H, W] to [B, C, T - trim_amount, H, W]."""
        return io.NodeOutput({**samples, "samples": samples["samples"][:, :, trim_amount:]})


NODES: tuple[type[BuiltIn], ...] = (
    LatentAdd,
    LatentSubtract,
    LatentMultiply,
    LatentInterpolate,
    LatentConcat,
    LatentCut,
    LatentBatch,
    LatentBatchSeedBehavior,
    TrimVideoLatent,
)
