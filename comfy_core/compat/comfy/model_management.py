"""`comfy.model_management`: the device, its memory and its types of number, interrupts. All of it is the executor's."""

import gc
import logging
import platform
import sys
import threading
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import psutil
import torch

from comfy.cli_args import args
from comfy_core.errors import Interrupted as InterruptProcessingException
from comfy_core.flags import vram
from comfy_core.limits import GIB
from comfy_core.memory import Memory
from comfy_core.offered import devices, residents
from comfy_core.offered.devices import cast as cast_to
from comfy_core.offered.devices import is_amd, is_nvidia
from comfy_core.offered.devices import name_of as get_torch_device_name
from comfy_core.offered.devices import size_of as module_size
from comfy_core.offered.later import rest
from comfy_core.progress import scope
from comfy_core.progress import stop_if_asked as throw_exception_if_processing_interrupted
from comfy_core.surface import attached


class VRAMState(Enum):
    """How models and the device's memory get on."""

    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


class CPUState(Enum):
    """What is computed on."""

    GPU = 0
    CPU = 1
    MPS = 2


_STATES = {
    "gpu-only": VRAMState.HIGH_VRAM,
    "highvram": VRAMState.HIGH_VRAM,
    "normalvram": VRAMState.NORMAL_VRAM,
    "lowvram": VRAMState.LOW_VRAM,
    "novram": VRAMState.NO_VRAM,
}
_CPU = torch.device("cpu")
_INFERENCE = int(0.8 * GIB)
Device = torch.device | None
Dtypes = Sequence[torch.dtype]


def _memory() -> Memory:
    return attached().services.memory


def get_torch_device() -> torch.device:
    """What models run on."""
    return _memory().device


def _or_default(device: Device) -> torch.device:
    return get_torch_device() if device is None else torch.device(device)


OOM_EXCEPTION = torch.OutOfMemoryError
torch_version = torch.__version__
set_vram_to = _STATES[vram(attached().settings.flags)]
cpu_state = CPUState.CPU if get_torch_device().type == "cpu" else CPUState.GPU
vram_state = VRAMState.DISABLED if cpu_state is CPUState.CPU else set_vram_to
total_ram = psutil.virtual_memory().total / devices.MIB
total_vram = devices.total_of(get_torch_device()) / devices.MIB
xpu_available = directml_enabled = False
lowvram_available = True
XFORMERS_IS_AVAILABLE = ENABLE_PYTORCH_ATTENTION = False
XFORMERS_ENABLED_VAE = True
XFORMERS_VERSION = ""
FLOAT8_TYPES = list(devices.FLOAT8)
FORCE_FP32 = PRIORITIZE_FP16 = SUPPORT_FP8_OPS = False
DISABLE_SMART_MEMORY = bool(args.disable_smart_memory)
EXTRA_RESERVED_VRAM = 400 * devices.MIB if args.reserve_vram is None else int(args.reserve_vram * GIB)
NUM_STREAMS = 1
STREAMS: dict[Any, Any] = {}
current_loaded_models: list[Any] = []
interrupt_processing = False
interrupt_processing_mutex = threading.RLock()

__getattr__ = rest(__name__)


def get_total_memory(dev: Device = None, torch_total_too: bool = False) -> Any:
    """Bytes the device has; with torch_total_too a pair, the second what torch may hold of it."""
    total = devices.total_of(_or_default(dev))
    return (total, total) if torch_total_too else total


def get_free_memory(dev: Device = None, torch_free_too: bool = False) -> Any:
    """Bytes that can be taken; with torch_free_too a pair, the second what torch holds already and has no use for."""
    free = devices.left_of(_or_default(dev))
    return free if torch_free_too else free[0]


def extra_reserved_memory() -> int:
    """Bytes left to other programs."""
    return EXTRA_RESERVED_VRAM


def minimum_inference_memory() -> int:
    """Bytes a model needs besides its weights, at least."""
    return _INFERENCE + extra_reserved_memory()


def maximum_vram_for_weights(device: Device = None) -> float:
    """Bytes that weights may take of a device, the rest being for what is computed."""
    return float(get_total_memory(device) * 0.88 - minimum_inference_memory())


def dtype_size(dtype: torch.dtype) -> int:
    """Bytes of one number."""
    return dtype.itemsize


def load_models_gpu(
    models: Iterable[Any],
    memory_required: float = 0,
    force_patch_weights: bool = False,
    minimum_memory_required: float | None = None,
    force_full_load: bool = False,
) -> None:
    """Bring models to the device."""
    residents.load(_memory(), models)


def load_model_gpu(model: Any) -> None:
    """Bring a model to the device."""
    load_models_gpu([model])


def loaded_models(only_currently_used: bool = False) -> list[Any]:
    """The models that packs have had loaded."""
    return list(residents.loaded())


def free_memory(memory_required: float, device: Any, keep_loaded: Iterable[Any] = ()) -> list[Any]:
    """Make room when so many bytes are not free; what had to go is not named."""
    if memory_required > get_free_memory(device):
        _memory().unload()
    return []


def use_more_memory(extra_memory: float, loaded_models: Iterable[Any], device: Any) -> None:
    """Models are on the device as a whole: there is no more to bring."""


def cleanup_models() -> None:
    """Models go by themselves when nobody holds them."""


def cleanup_models_gc() -> None:
    """Let go of what nobody holds."""
    gc.collect()


def unload_all_models() -> None:
    """Drop every model that is not in use."""
    _memory().unload()


def soft_empty_cache(force: bool = False) -> None:
    """Give freed memory back to the device."""
    _memory().collect()


def unet_offload_device() -> torch.device:
    """Where diffusion models are when they are not used."""
    return get_torch_device() if vram_state is VRAMState.HIGH_VRAM else _CPU


def unet_inital_load_device(parameters: int, dtype: torch.dtype) -> torch.device:
    """Where a diffusion model of so many parameters is read to."""
    device = get_torch_device()
    fits = parameters * dtype_size(dtype) < get_free_memory(device) - minimum_inference_memory()
    return device if vram_state is VRAMState.HIGH_VRAM or (fits and not DISABLE_SMART_MEMORY) else _CPU


def unet_dtype(
    device: Device = None, model_params: int = 0, supported_dtypes: Dtypes = devices.FULL, weight_dtype: Any = None
) -> torch.dtype:
    """In which type a diffusion model's weights are held."""
    return devices.stored_as(_or_default(device), supported_dtypes, weight_dtype)


def unet_manual_cast(
    weight_dtype: torch.dtype, inference_device: torch.device, supported_dtypes: Dtypes = devices.FULL
) -> torch.dtype | None:
    """In which type to compute with weights held in another; None when they are computed with as they are."""
    if weight_dtype == torch.float32 or devices.suits(inference_device, weight_dtype):
        return None
    return devices.best(inference_device, supported_dtypes)


def text_encoder_offload_device() -> torch.device:
    """Where text encoders are when they are not used."""
    return get_torch_device() if args.gpu_only else _CPU


def text_encoder_device() -> torch.device:
    """What text encoders run on."""
    if vram_state in (VRAMState.HIGH_VRAM, VRAMState.NORMAL_VRAM) and should_use_fp16(prioritize_performance=False):
        return get_torch_device()
    return get_torch_device() if args.gpu_only else _CPU


def text_encoder_initial_device(
    load_device: torch.device, offload_device: torch.device, model_size: int = 0
) -> torch.device:
    """Where a text encoder is read to."""
    return load_device if load_device == offload_device or vram_state is VRAMState.HIGH_VRAM else offload_device


def text_encoder_dtype(device: Device = None) -> torch.dtype:
    """In which type text encoders' weights are held."""
    return torch.float16


def intermediate_device() -> torch.device:
    """Where images and latents are between nodes."""
    return get_torch_device() if args.gpu_only else _CPU


def vae_device() -> torch.device:
    """What VAEs run on."""
    return get_torch_device()


def vae_offload_device() -> torch.device:
    """Where VAEs are when they are not used."""
    return get_torch_device() if args.gpu_only else _CPU


def vae_dtype(device: Device = None, allowed_dtypes: Dtypes = ()) -> torch.dtype:
    """In which type VAEs compute."""
    where = _or_default(device)
    return next((dtype for dtype in allowed_dtypes if devices.suits(where, dtype)), torch.float32)


def get_autocast_device(dev: Any) -> str:
    """A device's kind, as autocast wants it."""
    return str(getattr(dev, "type", "cuda"))


def supports_dtype(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether to compute in this type there."""
    return devices.suits(device, dtype)


def supports_cast(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether tensors of this type can lie there and be cast."""
    return devices.holds(device, dtype)


def pick_weight_dtype(dtype: torch.dtype | None, fallback_dtype: torch.dtype, device: Device = None) -> torch.dtype:
    """The type that is wished for where the device can hold it."""
    if dtype is not None and devices.holds(_or_default(device), dtype):
        return dtype
    return fallback_dtype


def device_supports_non_blocking(device: torch.device) -> bool:
    """Whether copies to it may go on while others compute."""
    return not is_device_mps(device)


def device_should_use_non_blocking(device: torch.device) -> bool:
    """Whether they should: they do not."""
    return False


def cast_to_device(
    tensor: torch.Tensor, device: torch.device, dtype: torch.dtype | None, copy: bool = False
) -> torch.Tensor:
    """The same numbers in another type on another device."""
    return cast_to(tensor, dtype=dtype, device=device, copy=copy)


def get_offload_stream(device: Any) -> None:
    """Weights move in order: there is no stream for them."""


def sync_stream(device: Any, stream: Any) -> None:
    """There is nothing to wait for."""


def get_supported_float8_types() -> list[torch.dtype]:
    """The 8-bit types torch has."""
    return FLOAT8_TYPES


def force_upcast_attention_dtype() -> None:
    """Attention computes in the type of its model."""


def sage_attention_enabled() -> bool:
    """Attention is torch's own."""
    return False


flash_attention_enabled = xformers_enabled = xformers_enabled_vae = sage_attention_enabled
force_channels_last = is_intel_xpu = is_ascend_npu = is_mlu = is_ixuca = sage_attention_enabled
is_directml_enabled = mps_mode = sage_attention_enabled


def pytorch_attention_enabled() -> bool:
    """Whether torch's fused attention is used: on GPUs."""
    return not cpu_mode()


def pytorch_attention_enabled_vae() -> bool:
    """The same for VAEs."""
    return pytorch_attention_enabled()


def pytorch_attention_flash_attention() -> bool:
    """Whether it may choose its flash kernel."""
    return pytorch_attention_enabled() and is_nvidia()


def cpu_mode() -> bool:
    """Whether models run on the processor."""
    return cpu_state is CPUState.CPU


def is_device_type(device: Any, type: str) -> bool:
    """Whether a device is of this kind."""
    return bool(getattr(device, "type", None) == type)


def is_device_cpu(device: Any) -> bool:
    """Whether it is the processor."""
    return is_device_type(device, "cpu")


def is_device_mps(device: Any) -> bool:
    """Whether it is Apple's."""
    return is_device_type(device, "mps")


def is_device_xpu(device: Any) -> bool:
    """Whether it is Intel's."""
    return is_device_type(device, "xpu")


def is_device_cuda(device: Any) -> bool:
    """Whether it is a GPU that torch reaches through CUDA."""
    return is_device_type(device, "cuda")


def amd_min_version(device: Device = None, min_rdna_version: int = 0) -> bool:
    """Whether an AMD GPU is at least of this generation: not looked into."""
    return False


def should_use_fp16(
    device: Device = None, model_params: int = 0, prioritize_performance: bool = True, manual_cast: bool = False
) -> bool:
    """Whether float16 is worth while."""
    return devices.fp16_suits(_or_default(device))


def should_use_bf16(
    device: Device = None, model_params: int = 0, prioritize_performance: bool = True, manual_cast: bool = False
) -> bool:
    """Whether bfloat16 is worth while."""
    return devices.bf16_suits(_or_default(device))


def supports_fp8_compute(device: Device = None) -> bool:
    """Whether 8-bit numbers can be multiplied."""
    return devices.fp8_computes(_or_default(device))


def extended_fp16_support() -> bool:
    """Whether torch's float16 is complete enough to be preferred for models made for bfloat16."""
    return True


def interrupt_current_processing(value: bool = True) -> None:
    """Ask the prompt that runs to stop."""
    if value:
        attached().queue.interrupt()


def processing_interrupted() -> bool:
    """Whether someone asked the run to stop."""
    current = scope.get()
    return current is not None and current.interrupted()
