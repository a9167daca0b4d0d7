"""`comfy.ldm.modules.diffusionmodules.util`: small parts of diffusion models that are plain formulas."""

import math
from collections.abc import Callable
from typing import Any

import torch

from comfy_core.offered.later import rest

__getattr__ = rest(__name__)


def timestep_embedding(
    timesteps: torch.Tensor, dim: int, max_period: float = 10000, repeat_only: bool = False
) -> torch.Tensor:
    """[B] to [B, dim]: cosines, then sines, of falling frequencies. Vaswani et al. 2017."""
    if repeat_only:
        return timesteps[:, None].repeat(1, dim)
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[:, None].float() * torch.exp(-math.log(max_period) * steps / half)[None]
    found = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
    return torch.nn.functional.pad(found, (0, dim % 2))


def zero_module(module: torch.nn.Module) -> torch.nn.Module:
    """With every parameter 0."""
    for parameter in module.parameters():
        parameter.detach().zero_()
    return module


def mean_flat(tensor: torch.Tensor) -> torch.Tensor:
    """The mean of each sample."""
    return tensor.flatten(1).mean(dim=1)


def checkpoint(func: Callable[..., Any], inputs: Any, params: Any, flag: bool) -> Any:
    """The function's result: nothing is trained, so nothing is spared by computing it twice."""
    return func(*inputs)


def avg_pool_nd(dims: int, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """Pooling over one, two or three dimensions."""
    return (torch.nn.AvgPool1d, torch.nn.AvgPool2d, torch.nn.AvgPool3d)[dims - 1](*args, **kwargs)
