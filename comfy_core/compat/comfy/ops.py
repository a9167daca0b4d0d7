"""`comfy.ops`: families of layers that packs build their models of. Those of 8-bit numbers come with the models."""

from typing import Any

import torch

from comfy_core.offered import layers
from comfy_core.offered.devices import cast as cast_to
from comfy_core.offered.later import refusal, rest
from comfy_core.offered.layers import CastWeightBiasOp, cast_bias_weight, casting

__getattr__ = rest(__name__)

CUBLAS_IS_AVAILABLE = False


def cast_to_input(
    weight: torch.Tensor, input: torch.Tensor, non_blocking: bool = False, copy: bool = True
) -> torch.Tensor:
    """The same numbers in the type and on the device of what they meet."""
    return cast_to(weight, input.dtype, input.device, non_blocking=non_blocking, copy=copy)


class disable_weight_init:
    """Layers whose weights are loaded over what is there, so that none are drawn."""

    Linear = layers.Linear
    Conv1d = layers.Conv1d
    Conv2d = layers.Conv2d
    Conv3d = layers.Conv3d
    GroupNorm = layers.GroupNorm
    LayerNorm = layers.LayerNorm
    RMSNorm = layers.RMSNorm
    ConvTranspose1d = layers.ConvTranspose1d
    ConvTranspose2d = layers.ConvTranspose2d
    Embedding = layers.Embedding

    @classmethod
    def conv_nd(cls, dims: int, *args: Any, **kwargs: Any) -> Any:
        """A convolution over two or three dimensions."""
        known = {2: cls.Conv2d, 3: cls.Conv3d}
        if dims not in known:
            raise ValueError(f"unsupported dimensions: {dims}")
        return known[dims](*args, **kwargs)


_CAST = {name: casting(layer) for name, layer in vars(disable_weight_init).items() if isinstance(layer, type)}
manual_cast = type("manual_cast", (disable_weight_init,), {**_CAST, "__doc__": "The same, cast to what goes in."})


def pick_operations(
    weight_dtype: torch.dtype | None,
    compute_dtype: torch.dtype | None,
    load_device: Any = None,
    disable_fast_fp8: bool = False,
    fp8_optimizations: bool = False,
    scaled_fp8: Any = None,
) -> type:
    """Layers that cast, unless weights are held in the type they are computed with."""
    if scaled_fp8 is not None:
        raise refusal("comfy.ops.scaled_fp8_ops")
    return disable_weight_init if compute_dtype is None or weight_dtype == compute_dtype else manual_cast
