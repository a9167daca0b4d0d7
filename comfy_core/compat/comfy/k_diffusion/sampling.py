"""`comfy.k_diffusion.sampling`: noise levels and formulas around them. Solvers come with the diffusion models."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from comfy_core.offered.later import rest
from comfy_core.offered.schedules import ending as append_zero
from comfy_core.offered.schedules import exponential as get_sigmas_exponential
from comfy_core.offered.schedules import karras as get_sigmas_karras
from comfy_core.offered.schedules import polyexponential as get_sigmas_polyexponential

__getattr__ = rest(__name__)


def to_d(x: torch.Tensor, sigma: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
    """The slope of a sample along its noise level: (x - denoised) / sigma."""
    return (x - denoised) / sigma.reshape(*sigma.shape, *[1] * (x.ndim - sigma.ndim))


def get_ancestral_step(sigma_from: Any, sigma_to: Any, eta: float = 1.0) -> tuple[Any, Any]:
    """(level to go down to, level of fresh noise to add) for a step with noise."""
    if not eta:
        return sigma_to, 0.0
    added = eta * (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5
    up = min(sigma_to, added)
    return (sigma_to**2 - up**2) ** 0.5, up


def get_sigmas_vp(
    n: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3, device: Any = "cpu"
) -> torch.Tensor:
    """The levels of a diffusion whose variance is kept. Song et al. 2021."""
    time = torch.linspace(1, eps_s, n, device=device)
    return append_zero(torch.sqrt(torch.special.expm1(beta_d * time**2 / 2 + beta_min * time)))


def get_sigmas_laplace(
    n: int, sigma_min: float, sigma_max: float, mu: float = 0.0, beta: float = 0.5, device: Any = "cpu"
) -> torch.Tensor:
    """The quantiles of a Laplace distribution of log levels, within the two ends; no 0 at the end."""
    share = torch.linspace(0, 1, n, device=device)
    level = mu - beta * torch.sign(0.5 - share) * torch.log(1 - 2 * torch.abs(0.5 - share) + 1e-5)
    return torch.exp(level).clamp(min=sigma_min, max=sigma_max)


def default_noise_sampler(x: torch.Tensor, seed: int | None = None) -> Callable[[Any, Any], torch.Tensor]:
    """Fresh noise of the shape of x for each step, from one seed."""
    generator = None if seed is None else torch.Generator(device=x.device).manual_seed(seed)
    return lambda sigma, sigma_next: torch.randn(
        x.size(), dtype=x.dtype, layout=x.layout, device=x.device, generator=generator
    )


def sigma_to_half_log_snr(sigma: torch.Tensor, model_sampling: Any) -> torch.Tensor:
    """Half the logarithm of signal to noise; for models of straight paths sigma is the share of noise."""
    return sigma.log().neg() if not _is_flow(model_sampling) else sigma.logit().neg()


def half_log_snr_to_sigma(half_log_snr: torch.Tensor, model_sampling: Any) -> torch.Tensor:
    """The other way round."""
    return half_log_snr.neg().exp() if not _is_flow(model_sampling) else half_log_snr.neg().sigmoid()


def _is_flow(model_sampling: Any) -> bool:
    from comfy.model_sampling import CONST

    return isinstance(model_sampling, CONST)
