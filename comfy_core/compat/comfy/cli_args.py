"""`comfy.cli_args`: what stood on the command line, under the names packs read it by.

Flags that mean nothing here are True when they were given, so that a pack that asks sees what its user wrote.
"""

import argparse
import enum
from pathlib import Path
from typing import Any

from comfy_core.flags import UNHEARD_SWITCHES, parser
from comfy_core.surface import attached


class LatentPreviewMethod(enum.Enum):
    """How samplers make previews."""

    NoPreviews = "none"
    Auto = "auto"
    Latent2RGB = "latent2rgb"
    TAESD = "taesd"


class PerformanceFeature(enum.Enum):
    """Optimisations that trade away exactness; none is used here."""

    Fp16Accumulation = "fp16_accumulation"
    Fp8MatrixMultiplication = "fp8_matrix_mult"
    CublasOps = "cublas_ops"
    AutoTune = "autotune"


_UNHEARD_VALUES: dict[str, Any] = {
    "comfy_api_base": "https://api.comfy.org",
    "database_url": "sqlite:///:memory:",
    "default_hashing_function": "sha256",
    "directml": None,
    "fast": set(),
    "front_end_version": "comfyanonymous/ComfyUI@latest",
    "oneapi_device_selector": None,
}


def _args() -> argparse.Namespace:
    given = attached().settings.flags
    found: dict[str, Any] = {name.replace("-", "_"): False for name, _ in UNHEARD_SWITCHES}
    found |= {flag.removeprefix("--").replace("-", "_"): True for flag in given.unheard}
    found |= _UNHEARD_VALUES | {"windows_standalone_build": False}
    found |= {name: _plain(value) for name, value in vars(given).items() if name != "unheard" and name not in found}
    return argparse.Namespace(**found | _as_packs_know(found))


def _as_packs_know(found: dict[str, Any]) -> dict[str, Any]:
    """What our flags hold in another form than packs expect."""
    base = found.get("base_directory")
    return {
        "preview_method": LatentPreviewMethod(found["preview_method"]),
        "base_directory": None if base == "." else base,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


args = _args()
__all__ = ["LatentPreviewMethod", "PerformanceFeature", "args", "parser"]
