"""`comfy.ldm.modules.attention`: attention as packs call it, by torch's own kernel. Transformers' blocks come later."""

from collections.abc import Callable
from typing import Any

import torch

from comfy_core.offered.later import rest

__getattr__ = rest(__name__)

Attention = Callable[..., torch.Tensor]


def exists(val: Any) -> bool:
    """Whether it is something."""
    return val is not None


def default(val: Any, d: Any) -> Any:
    """A value, or what stands for none."""
    return val if exists(val) else d


def get_attn_precision(attn_precision: Any, current_dtype: torch.dtype) -> Any:
    """In which type to compute: as the caller says."""
    return attn_precision


def attention_pytorch(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    heads: int,
    mask: torch.Tensor | None = None,
    attn_precision: Any = None,
    skip_reshape: bool = False,
    skip_output_reshape: bool = False,
    **kwargs: Any,
) -> torch.Tensor:
    """[B, T, heads * D] to the same; with skip_reshape from [B, heads, T, D], with skip_output_reshape to it."""
    if not skip_reshape:
        q, k, v = (one.reshape(*one.shape[:2], heads, -1).transpose(1, 2) for one in (q, k, v))
    if mask is not None and mask.ndim < 4:
        mask = mask.unsqueeze(0) if mask.ndim == 2 else mask
        mask = mask.unsqueeze(1)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.0, is_causal=False)
    return out if skip_output_reshape else out.transpose(1, 2).flatten(2)


attention_basic = attention_split = attention_sub_quad = attention_pytorch
optimized_attention = optimized_attention_masked = attention_pytorch
REGISTERED_ATTENTION_FUNCTIONS: dict[str, Attention] = {"pytorch": attention_pytorch}


def register_attention_function(name: str, func: Attention) -> None:
    """Let it be asked for by name."""
    REGISTERED_ATTENTION_FUNCTIONS.setdefault(name, func)


def get_attention_function(name: str, default: Any = ...) -> Any:
    """The attention of this name. Raises KeyError when there is none and nothing to stand for it."""
    if name == "optimized":
        return optimized_attention
    if name not in REGISTERED_ATTENTION_FUNCTIONS and default is ...:
        raise KeyError(f"there is no attention {name!r}")
    return REGISTERED_ATTENTION_FUNCTIONS.get(name, default)


def optimized_attention_for_device(device: Any, mask: bool = False, small_input: bool = False) -> Attention:
    """The attention to use on a device."""
    return attention_pytorch


def wrap_attn(func: Attention) -> Attention:
    """An attention that a caller's `transformer_options` may replace."""

    def wrapped(*args: Any, **kwargs: Any) -> torch.Tensor:
        options = kwargs.get("transformer_options") or {}
        other = options.get("optimized_attention_override")
        return func(*args, **kwargs) if other is None else other(func, *args, **kwargs)

    return wrapped
