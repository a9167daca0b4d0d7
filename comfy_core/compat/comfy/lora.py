"""`comfy.lora`: names of the parts of a text encoder in two layouts. Patches come with the diffusion models."""

from importlib import import_module

from comfy_core.offered.later import rest

__getattr__ = rest(__name__)
weight_adapter = import_module("comfy.weight_adapter")

LORA_CLIP_MAP = {
    name: name.replace(".", "_")
    for name in (
        *("mlp.fc1", "mlp.fc2"),
        *(f"self_attn.{part}_proj" for part in ("k", "q", "v", "out")),
    )
}
