"""What the device can do and which types of number suit it, asked of torch. It knows no models.

What is chosen: float32 on a processor; on a GPU half precision where its generation computes it faster than float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from comfy_core.usage import free_of

FLOAT8 = tuple(
    getattr(torch, name)
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
    if hasattr(torch, name)
)
FULL = (torch.float16, torch.bfloat16, torch.float32)
VOLTA, AMPERE, ADA = 7, 8, (8, 9)
MIB = 1024 * 1024


def generation(device: torch.device) -> tuple[int, int]:
    """The compute capability of a GPU; (0, 0) for another device."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def is_amd() -> bool:
    """Whether torch was built for AMD's GPUs and sees one."""
    return torch.cuda.is_available() and torch.version.hip is not None


def is_nvidia() -> bool:
    """Whether torch was built for NVIDIA's GPUs and sees one."""
    return torch.cuda.is_available() and torch.version.cuda is not None


def fp16_suits(device: torch.device) -> bool:
    """Whether float16 is worth while there."""
    return device.type == "mps" or (device.type == "cuda" and (is_amd() or generation(device)[0] >= VOLTA))


def bf16_suits(device: torch.device) -> bool:
    """Whether bfloat16 is worth while there."""
    return device.type == "cuda" and (is_amd() or generation(device)[0] >= AMPERE)


def fp8_computes(device: torch.device) -> bool:
    """Whether 8-bit numbers can be multiplied there."""
    return is_nvidia() and generation(device) >= ADA


def suits(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether to compute in this type there."""
    if dtype == torch.float32:
        return True
    return (dtype == torch.float16 and fp16_suits(device)) or (dtype == torch.bfloat16 and bf16_suits(device))


def holds(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether tensors of this type can lie there and be cast."""
    return dtype in FULL or (dtype in FLOAT8 and device.type in ("cpu", "cuda"))


def best(device: torch.device, supported: Sequence[torch.dtype]) -> torch.dtype:
    """The first of these types that suits the device; float32 when none does."""
    return next((dtype for dtype in supported if suits(device, dtype)), torch.float32)


def stored_as(device: torch.device, supported: Sequence[torch.dtype], weight: torch.dtype | None) -> torch.dtype:
    """In which type a diffusion model's weights are held: as in the file where the device suits it or can cast it."""
    if device.type == "cpu":
        return torch.float32
    if weight is not None and (weight in FLOAT8 or (weight in supported and suits(device, weight))):
        return weight
    return best(device, supported)


def total_of(device: torch.device) -> int:
    """Bytes of memory the device has."""
    return free_of(device)[1]


def left_of(device: torch.device) -> tuple[int, int]:
    """(bytes that can be taken, those of them that torch holds already and has no use for)."""
    free = free_of(device)[0]
    if device.type != "cuda":
        return free, free
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + idle, idle


def name_of(device: torch.device) -> str:
    """What to call it in a log."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def size_of(module: torch.nn.Module) -> int:
    """Bytes of a module's state."""
    return sum(tensor.nbytes for tensor in module.state_dict().values())


def cast(
    weight: torch.Tensor,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> torch.Tensor:
    """The same numbers in another type on another device; the very tensor when it is so already, unless copy."""
    return weight.to(device=device, dtype=dtype, non_blocking=non_blocking, copy=copy)
