"""Nodes that give the noise a sampler begins with. They know no sampler.

A NOISE is an object with `seed` and `generate_noise(latent)`, which returns float32 of the latent's shape on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from comfy_core.memory import require
from comfy_core.nodes.latent import Latent
from comfy_core.registry import BuiltIn

LARGEST_SEED = 2**64 - 1
BYTES = 4


@dataclass(frozen=True, slots=True)
class NoiseOfSeed:
    """Normal noise that a seed stands for."""

    seed: int

    def generate_noise(self, input_latent: Latent) -> torch.Tensor:
        """Drawn on the CPU. With a batch_index each item gets the draw of that number, so that it can be had alone."""
        samples = input_latent["samples"]
        torch.manual_seed(self.seed)
        indices = input_latent.get("batch_index")
        if indices is None:
            require(samples.numel() * BYTES, "noise")
            return torch.randn(samples.shape, dtype=samples.dtype, layout=samples.layout, device="cpu")
        require(samples.numel() * BYTES * 2, "noise")
        wanted, drawn = set(indices), {}
        for number in range(max(indices) + 1):
            one = torch.randn((1, *samples.shape[1:]), dtype=samples.dtype, layout=samples.layout, device="cpu")
            if number in wanted:
                drawn[number] = one
        return torch.cat([drawn[number] for number in indices])


@dataclass(frozen=True, slots=True)
class NoNoise:
    """Zeros."""

    seed: int = 0

    def generate_noise(self, input_latent: Latent) -> torch.Tensor:
        """Of the latent's shape."""
        samples = input_latent["samples"]
        require(samples.numel() * BYTES, "noise")
        return torch.zeros(samples.shape, dtype=samples.dtype, layout=samples.layout, device="cpu")


class RandomNoise(BuiltIn):
    """Noise from a seed."""

    CATEGORY = "sampling/custom_sampling/noise"
    PYTHON_MODULE = "comfy_extras.nodes_custom_sampler"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("NOISE",)
    FUNCTION = "get_noise"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        seed = {"default": 0, "min": 0, "max": LARGEST_SEED, "control_after_generate": True}
        return {"required": {"noise_seed": ("INT", seed)}}

    def get_noise(self, noise_seed: int) -> tuple[NoiseOfSeed]:
        """Drawn when it is asked for."""
        return (NoiseOfSeed(noise_seed),)


class DisableNoise(BuiltIn):
    """No noise."""

    CATEGORY = "sampling/custom_sampling/noise"
    PYTHON_MODULE = "comfy_extras.nodes_custom_sampler"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("NOISE",)
    FUNCTION = "get_noise"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """None."""
        return {"required": {}}

    def get_noise(self) -> tuple[NoNoise]:
        """Zeros."""
        return (NoNoise(),)


NODES: tuple[type[BuiltIn], ...] = (RandomNoise, DisableNoise)
