"""`node_helpers`: conditionings with more values, and small things nodes do with files and numbers."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image, ImageFile, UnidentifiedImageError

from comfy.cli_args import args

Conditioning = list[list[Any]]


def conditioning_set_values(
    conditioning: Conditioning, values: dict[str, Any] | None = None, append: bool = False
) -> Conditioning:
    """A conditioning whose every entry has these values; append: after those it has under the same names."""
    changed = []
    for tensor, options in conditioning:
        mixed = options.copy()
        for name, value in (values or {}).items():
            before = options.get(name) if append else None
            mixed[name] = value if before is None else before + value
        changed.append([tensor, mixed])
    return changed


def pillow(fn: Callable[..., Any], arg: Any) -> Any:
    """Call a function of Pillow's; a file it finds cut short is read as far as it goes."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        return fn(arg)
    except (OSError, UnidentifiedImageError, ValueError):
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        return fn(arg)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def hasher() -> Callable[..., Any]:
    """The hash function files are compared by."""
    known: Callable[..., Any] = getattr(hashlib, args.default_hashing_function)
    return known


def string_to_torch_dtype(string: str) -> torch.dtype | None:
    """`fp32`, `fp16` and `bf16`; None for another word."""
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}.get(string)


def image_alpha_fix(destination: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two IMAGEs with as many channels: the source's alpha cut off or the destination's added, full."""
    if destination.shape[-1] < source.shape[-1]:
        source = source[..., : destination.shape[-1]]
    elif destination.shape[-1] > source.shape[-1]:
        destination = torch.nn.functional.pad(destination, (0, 1))
        destination[..., -1] = 1.0
    return destination, source
