"""`comfy.rmsnorm`: normalisation by the root of the mean square. Zhang and Sennrich 2019."""

import torch

RMSNorm = torch.nn.RMSNorm


def rms_norm(x: torch.Tensor, weight: torch.Tensor | None = None, eps: float = 1e-6) -> torch.Tensor:
    """Over the last dimension, or over the weight's."""
    if weight is None:
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)
    return torch.nn.functional.rms_norm(x, weight.shape, weight.to(x), eps)
