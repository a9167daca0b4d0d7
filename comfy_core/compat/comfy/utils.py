"""`comfy.utils`: scaling, tiles, weights files, progress. It re-exports what lives inside the executor."""

import itertools
import math
from typing import Any

import numpy as np
import torch
from PIL import Image

from comfy.cli_args import args
from comfy_core.nodes.latent_resize import bislerp
from comfy_core.offered.bar import HOOKED, Hook, ProgressBar
from comfy_core.offered.later import rest
from comfy_core.offered.tensors import (
    common_upscale,
    copy_to_param,
    get_attr,
    lanczos,
    repeat_to_batch_size,
    reshape_mask,
    resize_list_to_batch_size,
    resize_to_batch_size,
    set_attr,
    set_attr_param,
)
from comfy_core.offered.tiling import count as get_tiled_scale_steps
from comfy_core.offered.tiling import tiled_scale, tiled_scale_multidim
from comfy_core.offered.weights import convert as convert_sd_to
from comfy_core.offered.weights import count as calculate_parameters
from comfy_core.offered.weights import header as safetensors_header
from comfy_core.offered.weights import load as load_torch_file
from comfy_core.offered.weights import main_dtype as weight_dtype
from comfy_core.offered.weights import replace_names as state_dict_key_replace
from comfy_core.offered.weights import replace_prefixes as state_dict_prefix_replace
from comfy_core.offered.weights import save as save_torch_file

ALWAYS_SAFE_LOAD = True
MMAP_TORCH_FILES = False
DISABLE_MMAP = False
PROGRESS_BAR_ENABLED = True

UNET_MAP_ATTENTIONS = {f"{part}.{kind}" for part in ("proj_in", "proj_out", "norm") for kind in ("weight", "bias")}
TRANSFORMER_BLOCKS = {
    *(f"norm{number}.{kind}" for number in (1, 2, 3) for kind in ("weight", "bias")),
    *(f"attn{number}.to_{part}.weight" for number in (1, 2) for part in "qkv"),
    *(f"attn{number}.to_out.0.{kind}" for number in (1, 2) for kind in ("weight", "bias")),
    *(f"ff.net.{part}.{kind}" for part in ("0.proj", "2") for kind in ("weight", "bias")),
}
_RESNET = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "in_layers.0": "norm1",
    "out_layers.0": "norm2",
}
UNET_MAP_RESNET = {f"{one}.{kind}": f"{other}.{kind}" for one, other in _RESNET.items() for kind in ("weight", "bias")}
_BASIC = (
    ("label_emb.0.0", "class_embedding.linear_1"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "class_embedding.linear_2"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
)
UNET_MAP_BASIC = {(f"{one}.{kind}", f"{other}.{kind}") for one, other in _BASIC for kind in ("weight", "bias")}
"""Names of one UNet's tensors in two layouts of file: the original one's and that of the diffusers library."""

_rest = rest(__name__)


def __getattr__(name: str) -> Any:
    if name == "PROGRESS_BAR_HOOK":
        return HOOKED.hook
    return _rest(name)


def set_progress_bar_enabled(enabled: bool) -> None:
    """Whether bars tell anything."""
    HOOKED.enabled = enabled


def set_progress_bar_global_hook(function: Hook | None) -> None:
    """Tell this function instead of the executor, from the next bar on."""
    HOOKED.hook = function


__all__ = [
    "ALWAYS_SAFE_LOAD",
    "DISABLE_MMAP",
    "MMAP_TORCH_FILES",
    "PROGRESS_BAR_ENABLED",
    "TRANSFORMER_BLOCKS",
    "UNET_MAP_ATTENTIONS",
    "UNET_MAP_BASIC",
    "UNET_MAP_RESNET",
    "Image",
    "ProgressBar",
    "args",
    "bislerp",
    "calculate_parameters",
    "common_upscale",
    "convert_sd_to",
    "copy_to_param",
    "get_attr",
    "get_tiled_scale_steps",
    "itertools",
    "lanczos",
    "load_torch_file",
    "math",
    "np",
    "repeat_to_batch_size",
    "reshape_mask",
    "resize_list_to_batch_size",
    "resize_to_batch_size",
    "safetensors_header",
    "save_torch_file",
    "set_attr",
    "set_attr_param",
    "set_progress_bar_enabled",
    "set_progress_bar_global_hook",
    "state_dict_key_replace",
    "state_dict_prefix_replace",
    "tiled_scale",
    "tiled_scale_multidim",
    "torch",
    "weight_dtype",
]
