"""`comfy.model_base`: how a kind of model is sampled. The models themselves come later."""

from typing import Any

import torch

import comfy.model_sampling as sampling
from comfy_core.offered.later import refusal, rest

__getattr__ = rest(__name__)

_PARTS: dict[str, tuple[type, type]] = {
    "EPS": (sampling.EPS, sampling.ModelSamplingDiscrete),
    "V_PREDICTION": (sampling.V_PREDICTION, sampling.ModelSamplingDiscrete),
    "FLOW": (sampling.CONST, sampling.ModelSamplingDiscreteFlow),
    "FLUX": (sampling.CONST, sampling.ModelSamplingFlux),
    "IMG_TO_IMG": (sampling.IMG_TO_IMG, sampling.ModelSamplingDiscrete),
}


def model_sampling(model_config: Any, model_type: Any) -> torch.nn.Module:
    """The sampling of a kind of model, with the settings of its configuration. Raises NotOffered for rare kinds."""
    parts = _PARTS.get(model_type.name)
    if parts is None:
        raise refusal(f"the sampling of {model_type}")
    made: Any = type("ModelSampling", parts, {})
    module: torch.nn.Module = made(model_config)
    return module
