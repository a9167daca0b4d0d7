"""Noise schedules that are formulas, and nodes that cut and join schedules. They know no model and no sampler.

A SIGMAS is float32 [n + 1], falling; the last value is mostly 0, where the picture is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.registry import BuiltIn

SCHEDULERS = "sampling/custom_sampling/schedulers"
CHANGES = "sampling/custom_sampling/sigmas"
MOST_STEPS = 10000
HIGHEST, LOWEST = 14.614642, 0.0291675
LAPLACE_FLOOR = 1e-5
BARELY_NOISY = 0.0001

SPACINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cosine": lambda x: math.sin(x * math.pi / 2),
    "sine": lambda x: 1.0 - math.cos(x * math.pi / 2),
}


def _number(default: float, most: float = 5000.0, *, least: float = 0.0, step: float = 0.01) -> tuple[str, Any]:
    return "FLOAT", {"default": default, "min": least, "max": most, "step": step, "round": False}


def _steps() -> tuple[str, Any]:
    return "INT", {"default": 20, "min": 1, "max": MOST_STEPS}


def _between() -> dict[str, Any]:
    return {"steps": _steps(), "sigma_max": _number(HIGHEST), "sigma_min": _number(LOWEST)}


def ending_in_zero(sigmas: torch.Tensor) -> torch.Tensor:
    """[n] to [n + 1]."""
    return torch.cat((sigmas, sigmas.new_zeros(1)))


class Schedule(BuiltIn):
    """Base of the nodes of this theme. Not a node itself."""

    CATEGORY = SCHEDULERS
    PYTHON_MODULE = "comfy_extras.nodes_custom_sampler"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("SIGMAS",)
    FUNCTION = "get_sigmas"


class KarrasScheduler(Schedule):
    """Even steps of the rho-th root (Karras et al. 2022, equation 5)."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {**_between(), "rho": _number(7.0, 100.0)}}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float, rho: float) -> tuple[torch.Tensor]:
        """Raises InputRefused for a rho whose root is no number."""
        try:
            high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        except (ZeroDivisionError, OverflowError) as error:
            raise InputRefused(f"rho {rho:g} is too small for sigma_max {sigma_max:g}") from error
        return (ending_in_zero((high + torch.linspace(0, 1, steps) * (low - high)) ** rho),)


class ExponentialScheduler(Schedule):
    """Even steps of the logarithm."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": _between()}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float) -> tuple[torch.Tensor]:
        """Raises InputRefused where there is no logarithm."""
        high, low = _logs(sigma_max, sigma_min)
        return (ending_in_zero(torch.linspace(high, low, steps).exp()),)


def _logs(high: float, low: float) -> tuple[float, float]:
    if high <= 0 or low <= 0:
        raise InputRefused("sigma_max and sigma_min must be above 0")
    return math.log(high), math.log(low)


class PolyexponentialScheduler(Schedule):
    """Steps of the logarithm, bent by a power."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {**_between(), "rho": _number(1.0, 100.0)}}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float, rho: float) -> tuple[torch.Tensor]:
        """Raises InputRefused where there is no logarithm."""
        high, low = _logs(sigma_max, sigma_min)
        ramp = torch.linspace(1, 0, steps) ** rho
        return (ending_in_zero(torch.exp(ramp * (high - low) + low)),)


class LaplaceScheduler(Schedule):
    """Quantiles of a Laplace distribution of the logarithm."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        bounds = {"mu": _number(0.0, 10.0, least=-10.0, step=0.1), "beta": _number(0.5, 10.0, step=0.1)}
        return {"required": {**_between(), **bounds}}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float, mu: float, beta: float) -> tuple[torch.Tensor]:
        """[steps], not ending in zero."""
        offset = 0.5 - torch.linspace(0, 1, steps)
        logs = mu - beta * torch.sign(offset) * torch.log(1 - 2 * offset.abs() + LAPLACE_FLOOR)
        return (torch.exp(logs).clamp(min=sigma_min, max=sigma_max),)


class VPScheduler(Schedule):
    """The variance preserving process (Song et al. 2021) in continuous time."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "steps": _steps(),
                "beta_d": _number(19.9),
                "beta_min": _number(0.1),
                "eps_s": _number(0.001, 1.0, step=0.0001),
            }
        }

    def get_sigmas(self, steps: int, beta_d: float, beta_min: float, eps_s: float) -> tuple[torch.Tensor]:
        """From time 1 to eps_s."""
        time = torch.linspace(1, eps_s, steps)
        return (ending_in_zero(torch.sqrt(torch.exp(beta_d * time**2 / 2 + beta_min * time) - 1)),)


class Change(Schedule):
    """Base of the nodes that change a schedule. Not a node itself."""

    CATEGORY = CHANGES


class SplitSigmas(Change):
    """In two, at a step."""

    RETURN_TYPES = ("SIGMAS", "SIGMAS")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("high_sigmas", "low_sigmas")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"sigmas": ("SIGMAS",), "step": ("INT", {"default": 0, "min": 0, "max": MOST_STEPS})}}

    def get_sigmas(self, sigmas: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The value at the step belongs to both."""
        return sigmas[: step + 1], sigmas[step:]


class SplitSigmasDenoise(Change):
    """In two, so that the second part is so much of the whole."""

    RETURN_TYPES = ("SIGMAS", "SIGMAS")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("high_sigmas", "low_sigmas")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        denoise = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
        return {"required": {"sigmas": ("SIGMAS",), "denoise": ("FLOAT", denoise)}}

    def get_sigmas(self, sigmas: torch.Tensor, denoise: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The value between belongs to both; without a second part the first is empty too."""
        last = round(max(sigmas.shape[-1] - 1, 0) * denoise)
        return sigmas[:-last] if last else sigmas[:0], sigmas[-(last + 1) :]


class FlipSigmas(Change):
    """Backwards."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"sigmas": ("SIGMAS",)}}

    def get_sigmas(self, sigmas: torch.Tensor) -> tuple[torch.Tensor]:
        """It does not begin with 0, but just above."""
        turned = sigmas.flip(0)
        if turned.numel() and turned[0] == 0:
            turned[0] = BARELY_NOISY
        return (turned,)


class SetFirstSigma(Change):
    """Another beginning."""

    FUNCTION = "set_first_sigma"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"sigmas": ("SIGMAS",), "sigma": _number(136.0, 20000.0, step=0.001)}}

    def set_first_sigma(self, sigmas: torch.Tensor, sigma: float) -> tuple[torch.Tensor]:
        """Raises InputRefused for an empty schedule."""
        if not sigmas.numel():
            raise InputRefused("the schedule is empty")
        changed = sigmas.clone()
        changed[0] = sigma
        return (changed,)


class ExtendIntermediateSigmas(Change):
    """More steps between those there are."""

    FUNCTION = "extend"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "sigmas": ("SIGMAS",),
                "steps": ("INT", {"default": 2, "min": 1, "max": 100}),
                "start_at_sigma": _number(-1.0, 20000.0, least=-1.0),
                "end_at_sigma": _number(12.0, 20000.0),
                "spacing": (list(SPACINGS),),
            }
        }

    def extend(
        self, sigmas: torch.Tensor, steps: int, start_at_sigma: float, end_at_sigma: float, spacing: str
    ) -> tuple[torch.Tensor]:
        """Each step that begins between the two bounds becomes `steps`; a negative start means from the first."""
        highest = math.inf if start_at_sigma < 0 else start_at_sigma
        places = [SPACINGS[spacing](part / steps) for part in range(1, steps)]
        made: list[torch.Tensor] = []
        for here, there in pairwise(sigmas):
            made.append(here)
            if end_at_sigma <= here <= highest:
                made += [here + (there - here) * place for place in places]
        return (torch.stack([*made, sigmas[-1]]) if sigmas.numel() else sigmas,)


NODES = (
    KarrasScheduler,
    ExponentialScheduler,
    PolyexponentialScheduler,
    LaplaceScheduler,
    VPScheduler,
    SplitSigmas,
    SplitSigmasDenoise,
    FlipSigmas,
    SetFirstSigma,
    ExtendIntermediateSigmas,
)
