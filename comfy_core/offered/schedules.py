"""Noise levels: which ones a number of steps goes through. Pure formulas; it knows no models.

`sampling` is a model's noise table: sigmas (rising, one per training step), sigma_min, sigma_max, timestep(sigma) and
sigma(timestep). Every schedule is float32, falls, and ends in 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

SAMPLERS = (
    *("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2"),
    *("dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp"),
    *("dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
    *("dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm"),
    *("ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral"),
    *("res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2"),
    *("seeds_3", "sa_solver", "sa_solver_pece"),
)
"""The solvers by name; `OTHER_SAMPLERS` are made of them in another way."""
OTHER_SAMPLERS = ("ddim", "uni_pc", "uni_pc_bh2")


def ending(values: torch.Tensor | list[float]) -> torch.Tensor:
    """With the 0 at the end."""
    given = torch.as_tensor(values, dtype=torch.float32)
    return torch.cat([given, given.new_zeros(1)])


def karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: Any = "cpu") -> torch.Tensor:
    """Evenly in the rho-th root. Karras et al. 2022, equation 5."""
    ramp = torch.linspace(0, 1, n, device=device)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return ending((high + ramp * (low - high)) ** rho).to(device)


def exponential(n: int, sigma_min: float, sigma_max: float, device: Any = "cpu") -> torch.Tensor:
    """Evenly in the logarithm."""
    return ending(torch.linspace(math.log(sigma_max), math.log(sigma_min), n, device=device).exp()).to(device)


def polyexponential(n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: Any = "cpu") -> torch.Tensor:
    """By a power of an even ramp in the logarithm."""
    ramp = torch.linspace(1, 0, n, device=device) ** rho
    return ending((ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp()).to(device)


def simple(sampling: Any, steps: int) -> torch.Tensor:
    """Every so many-th of the table, from its end."""
    stride = len(sampling.sigmas) / steps
    return ending([float(sampling.sigmas[-(1 + int(step * stride))]) for step in range(steps)])


def ddim(sampling: Any, steps: int) -> torch.Tensor:
    """Every so many-th of the table, from its second."""
    stride = max(len(sampling.sigmas) // steps, 1)
    first = 1 if abs(float(sampling.sigmas[1])) > 0 else 2
    picked = [float(sampling.sigmas[index]) for index in range(first, len(sampling.sigmas), stride)]
    return ending(picked[::-1])


def normal(sampling: Any, steps: int, sgm: bool = False, floor: bool = False) -> torch.Tensor:
    """Evenly in the model's time; sgm leaves out the last."""
    start, end = (float(sampling.timestep(level)) for level in (sampling.sigma_max, sampling.sigma_min))
    ends_in_zero = abs(float(sampling.sigma(torch.tensor(end)))) < ALMOST_ZERO
    if sgm:
        times = torch.linspace(start, end, steps + 1)[:-1]
    else:
        times = torch.linspace(start, end, steps + 1 if ends_in_zero else steps)
    levels = [float(sampling.sigma(time)) for time in times]
    return torch.tensor(levels) if ends_in_zero and not sgm else ending(levels)


ALMOST_ZERO = 1e-5


def beta(sampling: Any, steps: int, alpha: float = 0.6, beta: float = 0.6) -> torch.Tensor:
    """The table at the quantiles of a beta distribution. Lee et al. 2024 (arXiv 2407.12173)."""
    last = len(sampling.sigmas) - 1
    picked: list[int] = []
    for step in range(steps):
        index = round(_beta_quantile(1 - step / steps, alpha, beta) * last)
        if not picked or index != picked[-1]:
            picked.append(index)
    return ending([float(sampling.sigmas[index]) for index in picked])


def _beta_quantile(share: float, alpha: float, beta: float) -> float:
    """The x below which lies this share of a beta distribution, by bisection of its continued fraction."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_share(middle, alpha, beta) < share else (low, middle)
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function. Abramowitz and Stegun 26.5.8, by Lentz's method."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 200):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            fraction *= c * d
    return front * fraction


def linear_quadratic(
    sampling: Any, steps: int, threshold_noise: float = 0.025, linear_steps: int | None = None
) -> torch.Tensor:
    """Straight for the first half, then along a parabola. Mochi's schedule (Genmo 2024)."""
    if steps == 1:
        return torch.tensor([float(sampling.sigma_max), 0.0])
    straight = steps // 2 if linear_steps is None else linear_steps
    rises = [index * threshold_noise / straight for index in range(straight)]
    curved = steps - straight
    gap = straight - threshold_noise * steps
    square = gap / (straight * curved**2)
    slope = threshold_noise / straight - 2 * gap / curved**2
    rises += [square * (i**2) + slope * i + square * straight**2 for i in range(straight, steps)]
    return torch.tensor([(1 - rise) * float(sampling.sigma_max) for rise in [*rises, 1.0]])


def kl_optimal(n: int, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """Evenly in the arc tangent. Sabour et al. 2024 (Align Your Steps), equation 12."""
    low, high = math.atan(sigma_min), math.atan(sigma_max)
    ramp = torch.arange(n, dtype=torch.float32) / (n - 1)
    return ending(torch.tan(ramp * low + (1 - ramp) * high))


class Handler(NamedTuple):
    """use_ms: whether it takes the model's table, or its smallest and largest level only."""

    handler: Callable[..., torch.Tensor]
    use_ms: bool = True


def sgm_uniform(sampling: Any, steps: int) -> torch.Tensor:
    """`normal` without its last step."""
    return normal(sampling, steps, sgm=True)


SCHEDULES: dict[str, Handler] = {
    "simple": Handler(simple),
    "sgm_uniform": Handler(sgm_uniform),
    "karras": Handler(karras, use_ms=False),
    "exponential": Handler(exponential, use_ms=False),
    "ddim_uniform": Handler(ddim),
    "beta": Handler(beta),
    "normal": Handler(normal),
    "linear_quadratic": Handler(linear_quadratic),
    "kl_optimal": Handler(kl_optimal, use_ms=False),
}
