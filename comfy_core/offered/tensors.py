"""Small changes of tensors and of objects that hold them, as packs use them. It knows no nodes."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from comfy_core.nodes.latent_resize import resize_latent
from comfy_core.nodes.resize import resize


def common_upscale(samples: torch.Tensor, width: int, height: int, upscale_method: str, crop: str) -> torch.Tensor:
    """[B, C, ..., H, W] to [B, C, ..., height, width]; crop "center" cuts to the new proportions, others distort."""
    if upscale_method != "lanczos":
        return resize_latent(samples, width, height, upscale_method, crop=crop == "center")
    flat = samples.movedim(1, -3).reshape(-1, samples.shape[1], *samples.shape[-2:])
    done = resize(flat.movedim(1, -1), width, height, "lanczos", crop=crop == "center").movedim(-1, 1)
    return done.reshape(samples.shape[0], *samples.shape[2:-2], samples.shape[1], height, width).movedim(-3, 1)


def lanczos(samples: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """[B, C, H, W] to [B, C, height, width], through 8-bit values."""
    return common_upscale(samples, width, height, "lanczos", "disabled")


def repeat_to_batch_size(tensor: torch.Tensor, batch_size: int, dim: int = 0) -> torch.Tensor:
    """Repeated or cut along a dimension to a length."""
    length = tensor.shape[dim]
    if length < batch_size:
        times = [1] * tensor.ndim
        times[dim] = math.ceil(batch_size / length)
        tensor = tensor.repeat(times)
    return tensor.narrow(dim, 0, batch_size) if tensor.shape[dim] > batch_size else tensor


def spread(length: int, wanted: int) -> list[int]:
    """Which of `length` elements stand at `wanted` places: evenly, both ends kept when there are fewer places."""
    if wanted <= 1:
        return [0] * wanted
    if wanted < length:
        return [round(place * (length - 1) / (wanted - 1)) for place in range(wanted)]
    return [int((place + 0.5) * length / wanted) for place in range(wanted)]


def resize_to_batch_size(tensor: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Frames picked or repeated evenly along the first dimension."""
    if tensor.shape[0] == batch_size:
        return tensor
    return tensor[spread(tensor.shape[0], batch_size)]


def resize_list_to_batch_size(items: list[Any], batch_size: int) -> list[Any]:
    """The same for a list."""
    return items if len(items) == batch_size else [items[index] for index in spread(len(items), batch_size)]


def reshape_mask(input_mask: torch.Tensor, output_shape: tuple[int, ...]) -> torch.Tensor:
    """A mask [.., H, W] scaled bilinearly to the last dimensions of output_shape, repeated over batch and channels."""
    dimensions = len(output_shape) - 2
    mask = _with_channels(input_mask, dimensions)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dimensions]
    mask = torch.nn.functional.interpolate(mask, size=output_shape[2:], mode=mode)
    if mask.shape[1] < output_shape[1]:
        mask = mask.repeat(1, output_shape[1], *[1] * dimensions)[:, : output_shape[1]]
    return repeat_to_batch_size(mask, output_shape[0])


def _with_channels(mask: torch.Tensor, dimensions: int) -> torch.Tensor:
    """[B, 1, H, W]; for video [1, 1, T, H, W]: what comes before height and width is time."""
    if dimensions == 1:
        return mask if mask.ndim > 2 else mask.reshape(1, -1, mask.shape[-1])
    if dimensions == 2:
        return mask.reshape(-1, 1, *mask.shape[-2:])
    return mask if mask.ndim > 4 else mask.reshape(1, 1, -1, *mask.shape[-2:])


def get_attr(obj: Any, attr: str) -> Any:
    """What a dotted path leads to; numbers index lists of modules."""
    return functools.reduce(getattr, attr.split("."), obj)


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """Put a value at a dotted path; what was there before is answered. Raises AttributeError when nothing was."""
    *path, last = attr.split(".")
    holder = functools.reduce(getattr, path, obj)
    before = getattr(holder, last)
    setattr(holder, last, value)
    return before


def set_attr_param(obj: Any, attr: str, value: torch.Tensor) -> Any:
    """Put a tensor at a dotted path as a parameter that is not trained."""
    return set_attr(obj, attr, torch.nn.Parameter(value, requires_grad=False))


def copy_to_param(obj: Any, attr: str, value: torch.Tensor) -> None:
    """Copy numbers into the parameter at a dotted path."""
    get_attr(obj, attr).data.copy_(value)
