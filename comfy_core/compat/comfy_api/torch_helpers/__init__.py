"""Compiling diffusion models, by the name packs know."""

from __future__ import annotations

from typing import Any

from comfy_core.offered.later import refusal


def set_torch_compile_wrapper(model: Any, backend: str, *args: Any, **kwargs: Any) -> None:
    """Raises NotOffered: there is no diffusion model to compile."""
    raise refusal("comfy_api.torch_helpers.set_torch_compile_wrapper")


__all__ = ("set_torch_compile_wrapper",)
