"""`comfy.ldm.common_dit`: what transformers over pictures share."""

import torch

from comfy.rmsnorm import rms_norm


def pad_to_patch_size(
    img: torch.Tensor, patch_size: tuple[int, ...] = (2, 2), padding_mode: str = "circular"
) -> torch.Tensor:
    """The last dimensions made multiples of the patch's."""
    sides = list(zip(reversed(img.shape[2:]), reversed(patch_size), strict=False))
    more = [amount for length, patch in sides for amount in (0, -length % patch)]
    return torch.nn.functional.pad(img, more, mode=padding_mode)
