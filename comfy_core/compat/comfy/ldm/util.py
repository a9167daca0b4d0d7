"""`comfy.ldm.util`: objects by the name of their class, and words for none."""

from importlib import import_module
from typing import Any

from comfy.ldm.modules.attention import default, exists
from comfy_core.offered.later import rest

__getattr__ = rest(__name__)


def get_obj_from_str(string: str, reload: bool = False) -> Any:
    """What `module.Name` names."""
    module, name = string.rsplit(".", 1)
    return getattr(import_module(module), name)


def instantiate_from_config(config: dict[str, Any]) -> Any:
    """An object of config["target"], made with config["params"]."""
    return get_obj_from_str(config["target"])(**config.get("params", {}))
