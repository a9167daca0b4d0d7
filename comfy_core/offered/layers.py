"""torch's layers as packs' models use them: not initialised, as weights are loaded over them; cast on the way."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def cast_bias_weight(
    s: nn.Module,
    input: torch.Tensor | None = None,  # noqa: A002 - ComfyUI's word
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    bias_dtype: torch.dtype | None = None,
) -> tuple[Any, Any]:
    """(weight, bias) of a layer in the type and on the device of what goes into it; None for one it lacks."""
    if input is not None:
        dtype, device = dtype or input.dtype, device or input.device
    weight, bias = getattr(s, "weight", None), getattr(s, "bias", None)
    return (
        None if weight is None else weight.to(device=device, dtype=dtype),
        None if bias is None else bias.to(device=device, dtype=bias_dtype or dtype),
    )


class CastWeightBiasOp:
    """Mixed into every layer: whether its weights are cast to what goes in."""

    comfy_cast_weights = False
    weight_function: Any = ()
    bias_function: Any = ()

    def reset_parameters(self) -> None:
        """Weights are loaded over what is there: nothing is drawn."""


class Linear(CastWeightBiasOp, nn.Linear):
    """torch's, its weights cast when that is wished for."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's word
        """[.., in] to [.., out]."""
        if not self.comfy_cast_weights:
            return super().forward(input)
        return functional.linear(input, *cast_bias_weight(self, input))


class _Convolution(CastWeightBiasOp):
    _conv_forward: Any

    def forward(self, input: torch.Tensor) -> Any:  # noqa: A002
        """As torch's layer does."""
        if not self.comfy_cast_weights:
            return super().forward(input)  # type: ignore[misc]
        return self._conv_forward(input, *cast_bias_weight(self, input))  # type: ignore[arg-type]


class Conv1d(_Convolution, nn.Conv1d):
    """torch's, its weights cast when that is wished for."""


class Conv2d(_Convolution, nn.Conv2d):
    """torch's, its weights cast when that is wished for."""


class Conv3d(_Convolution, nn.Conv3d):
    """torch's, its weights cast when that is wished for."""


class _Transposed(CastWeightBiasOp):
    def forward(self, input: torch.Tensor, output_size: Any = None) -> Any:  # noqa: A002
        """As torch's layer does."""
        if self.comfy_cast_weights:
            weight, bias = cast_bias_weight(self, input)  # type: ignore[arg-type]
            moved = {"weight": weight} | ({"bias": bias} if bias is not None else {})
            return torch.func.functional_call(_uncast(self), moved, (input, output_size))
        return super().forward(input, output_size)  # type: ignore[misc]


def _uncast(layer: Any) -> Any:
    """The same layer, cast no more: what it computes with is given with the call."""
    twin: Any = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__)
    twin.comfy_cast_weights = False
    return twin


class ConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """torch's, its weights cast when that is wished for."""


class ConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """torch's, its weights cast when that is wished for."""


class GroupNorm(CastWeightBiasOp, nn.GroupNorm):
    """torch's, its weights cast when that is wished for."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """As torch's layer does."""
        if not self.comfy_cast_weights:
            return super().forward(input)
        return functional.group_norm(input, self.num_groups, *cast_bias_weight(self, input), self.eps)


class LayerNorm(CastWeightBiasOp, nn.LayerNorm):
    """torch's, its weights cast when that is wished for."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """As torch's layer does."""
        if not self.comfy_cast_weights:
            return super().forward(input)
        return functional.layer_norm(input, self.normalized_shape, *cast_bias_weight(self, input), self.eps)


class RMSNorm(CastWeightBiasOp, nn.RMSNorm):
    """torch's, its weights cast when that is wished for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As torch's layer does."""
        if not self.comfy_cast_weights:
            return super().forward(x)
        return functional.rms_norm(x, self.normalized_shape, cast_bias_weight(self, x)[0], self.eps)


class Embedding(CastWeightBiasOp, nn.Embedding):
    """torch's, its vectors cast when that is wished for."""

    def forward(self, input: torch.Tensor, out_dtype: torch.dtype | None = None) -> torch.Tensor:  # noqa: A002
        """Numbers to vectors."""
        found = super().forward(input)
        return found if out_dtype is None else found.to(out_dtype)


def casting(layer: type) -> type:
    """The same layer, always cast."""
    return type(layer.__name__, (layer,), {"comfy_cast_weights": True})
