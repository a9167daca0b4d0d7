"""`comfy.samplers`: the names of samplers and schedules, and the noise levels of each schedule.

Sampling itself comes with the diffusion models.
"""

import collections
import logging
import math
from typing import Any

import torch

import comfy.k_diffusion.sampling as k_diffusion_sampling
import comfy.model_management as model_management
from comfy_core.offered.later import refusal, rest
from comfy_core.offered.schedules import OTHER_SAMPLERS, SAMPLERS, SCHEDULES
from comfy_core.offered.schedules import Handler as SchedulerHandler
from comfy_core.offered.schedules import beta as beta_scheduler
from comfy_core.offered.schedules import ddim as ddim_scheduler
from comfy_core.offered.schedules import kl_optimal as kl_optimal_scheduler
from comfy_core.offered.schedules import linear_quadratic as linear_quadratic_schedule
from comfy_core.offered.schedules import normal as normal_scheduler
from comfy_core.offered.schedules import simple as simple_scheduler

__getattr__ = rest(__name__)

KSAMPLER_NAMES = list(SAMPLERS)
SAMPLER_NAMES = [*SAMPLERS, *OTHER_SAMPLERS]
SCHEDULER_HANDLERS = SCHEDULES
"""Packs add their own schedules to it and their names to SCHEDULER_NAMES."""
SCHEDULER_NAMES = list(SCHEDULES)


def calculate_sigmas(model_sampling: Any, scheduler_name: str, steps: int) -> torch.Tensor:
    """The noise levels of a schedule, [steps + 1]. Raises ValueError for one that is not known."""
    known = SCHEDULER_HANDLERS.get(scheduler_name)
    if known is None:
        raise ValueError(f"there is no schedule {scheduler_name[:100]!r}")
    if known.use_ms:
        return known.handler(model_sampling, steps)
    low, high = float(model_sampling.sigma_min), float(model_sampling.sigma_max)
    return known.handler(n=steps, sigma_min=low, sigma_max=high)


class Sampler:
    """What turns noise into a latent, given noise levels."""

    def sample(self, *_: Any, **__: Any) -> Any:
        """Raises NotOffered."""
        raise refusal(f"{type(self).__name__}.sample")

    def max_denoise(self, model_wrap: Any, sigmas: torch.Tensor) -> bool:
        """Whether the first noise level is the largest the model knows."""
        largest, first = float(model_wrap.inner_model.model_sampling.sigma_max), float(sigmas[0])
        return math.isclose(largest, first, rel_tol=1e-05) or first > largest


class KSAMPLER(Sampler):
    """A solver as a function, with its options."""

    def __init__(
        self, sampler_function: Any, extra_options: dict[str, Any] | None = None, inpaint_options: Any = None
    ) -> None:
        self.sampler_function = sampler_function
        self.extra_options = extra_options or {}
        self.inpaint_options = inpaint_options or {}


def ksampler(sampler_name: str, extra_options: dict[str, Any] | None = None, inpaint_options: Any = None) -> KSAMPLER:
    """A solver by name."""
    return KSAMPLER(getattr(k_diffusion_sampling, f"sample_{sampler_name}"), extra_options, inpaint_options)


def sampler_object(name: str) -> Sampler:
    """A sampler by name; `ddim` is euler, which draws the noise of masked parts anew."""
    if name in ("uni_pc", "uni_pc_bh2"):
        raise refusal(f"the sampler {name}")
    return ksampler("euler", inpaint_options={"random": True}) if name == "ddim" else ksampler(name)


class KSampler:
    """A model sampled in so many steps. What it knows without a model is the lists of names."""

    SCHEDULERS = SCHEDULER_NAMES
    SAMPLERS = SAMPLER_NAMES
    DISCARD_PENULTIMATE_SIGMA_SAMPLERS = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})

    def __init__(self, *_: Any, **__: Any) -> None:
        raise refusal("comfy.samplers.KSampler")

    def set_steps(self, *_: Any, **__: Any) -> Any:
        """Raises NotOffered."""
        raise refusal("comfy.samplers.KSampler.set_steps")

    def calculate_sigmas(self, *_: Any, **__: Any) -> Any:
        """Raises NotOffered."""
        raise refusal("comfy.samplers.KSampler.calculate_sigmas")

    def sample(self, *_: Any, **__: Any) -> Any:
        """Raises NotOffered."""
        raise refusal("comfy.samplers.KSampler.sample")
