"""Types for annotating V1 nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypedDict

from comfy.comfy_types.node_typing import (
    IO,
    CheckLazyMixin,
    ComfyNodeABC,
    FileLocator,
    HiddenInputTypeDict,
    InputTypeDict,
    InputTypeOptions,
)


class UnetParams(TypedDict):
    """What a wrapper of a diffusion model is called with. input: [B, C, H, W]; timestep: [B]."""

    input: Any
    timestep: Any
    c: dict[str, Any]
    cond_or_uncond: list[int]


class UnetApplyFunction(Protocol):
    """The model's own call."""

    def __call__(self, x: Any, t: Any, **kwargs: Any) -> Any:
        """x: [B, C, H, W]; t: [B]."""


class UnetApplyConds(TypedDict, total=False):
    """Conditions of that call."""

    c_concat: Any
    c_crossattn: Any
    control: Any
    transformer_options: dict[str, Any]


UnetWrapperFunction = Callable[[UnetApplyFunction, UnetParams], Any]

__all__ = (
    "IO",
    "CheckLazyMixin",
    "ComfyNodeABC",
    "FileLocator",
    "InputTypeDict",
    "UnetApplyConds",
    "UnetApplyFunction",
    "UnetParams",
    "UnetWrapperFunction",
)
