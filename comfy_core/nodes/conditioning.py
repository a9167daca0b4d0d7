"""Nodes that join conditionings and say where and when they hold. They know no text encoder and no sampler.

A CONDITIONING is a list of [tensor [B, T, D], dict]; what a node adds stands in the dict, copied, never changed.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from comfy_core.errors import InputRefused
from comfy_core.registry import BuiltIn

MAX_SIDE = 16384
CELL = 8

Conditioning = list[list[Any]]


def with_values(conditioning: Conditioning, **values: Any) -> Conditioning:
    """The same with further values in every dict."""
    return [[entry[0], {**entry[1], **values}] for entry in conditioning]


def _first(conditioning: Conditioning) -> list[Any]:
    if not conditioning:
        raise InputRefused("the conditioning is empty")
    return conditioning[0]


def _strength() -> tuple[str, dict[str, Any]]:
    return "FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.01}


def _pixels(least: int) -> tuple[str, dict[str, Any]]:
    return "INT", {"default": least, "min": least, "max": MAX_SIDE, "step": CELL}


def _part(default: float, step: float = 0.01) -> tuple[str, dict[str, Any]]:
    return "FLOAT", {"default": default, "min": 0, "max": 1.0, "step": step}


class Conditions(BuiltIn):
    """Base of the nodes of this theme. Not a node itself."""

    CATEGORY = "conditioning"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("CONDITIONING",)


class ConditioningCombine(Conditions):
    """Both hold, each by itself."""

    DISPLAY_NAME = "Conditioning (Combine)"
    FUNCTION = "combine"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"conditioning_1": ("CONDITIONING",), "conditioning_2": ("CONDITIONING",)}}

    def combine(self, conditioning_1: Conditioning, conditioning_2: Conditioning) -> tuple[Conditioning]:
        """One list after the other."""
        return (conditioning_1 + conditioning_2,)


class ConditioningConcat(Conditions):
    """The tokens of one after those of the other."""

    DISPLAY_NAME = "Conditioning (Concat)"
    FUNCTION = "concat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"conditioning_to": ("CONDITIONING",), "conditioning_from": ("CONDITIONING",)}}

    def concat(self, conditioning_to: Conditioning, conditioning_from: Conditioning) -> tuple[Conditioning]:
        """The first entry of `from` is appended to every entry of `to`."""
        more = _first(conditioning_from)[0]
        return ([[torch.cat((entry[0], more), 1), dict(entry[1])] for entry in conditioning_to],)


class ConditioningAverage(Conditions):
    """A mixture."""

    FUNCTION = "addWeighted"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        strength = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "conditioning_to": ("CONDITIONING",),
                "conditioning_from": ("CONDITIONING",),
                "conditioning_to_strength": ("FLOAT", strength),
            }
        }

    def addWeighted(  # noqa: N802 - the name packs call
        self, conditioning_to: Conditioning, conditioning_from: Conditioning, conditioning_to_strength: float
    ) -> tuple[Conditioning]:
        """`strength` of each entry of `to`, the rest of the first of `from`, cut or filled with zeros to its length."""
        other, options = _first(conditioning_from)
        share = conditioning_to_strength
        made = []
        for tokens, own in conditioning_to:
            fitted = other[:, : tokens.shape[1]]
            fitted = torch.nn.functional.pad(fitted, (0, 0, 0, tokens.shape[1] - fitted.shape[1]))
            changed = dict(own)
            pooled = _pooled(own.get("pooled_output"), options.get("pooled_output"), share)
            if pooled is not None:
                changed["pooled_output"] = pooled
            made.append([tokens * share + fitted * (1.0 - share), changed])
        return (made,)


def _pooled(own: torch.Tensor | None, other: torch.Tensor | None, share: float) -> torch.Tensor | None:
    if other is None:
        return own
    return other if own is None else own * share + other * (1.0 - share)


class ConditioningSetArea(Conditions):
    """Only in a rectangle."""

    DISPLAY_NAME = "Conditioning (Set Area)"
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "width": _pixels(64),
                "height": _pixels(64),
                "x": _pixels(0),
                "y": _pixels(0),
                "strength": _strength(),
            }
        }

    def append(
        self, conditioning: Conditioning, width: int, height: int, x: int, y: int, strength: float
    ) -> tuple[Conditioning]:
        """In pixels; kept as (height, width, y, x) in latent cells."""
        area = (height // CELL, width // CELL, y // CELL, x // CELL)
        return (with_values(conditioning, area=area, strength=strength, set_area_to_bounds=False),)


class ConditioningSetAreaPercentage(Conditions):
    """Only in a rectangle, in parts of the picture."""

    DISPLAY_NAME = "Conditioning (Set Area with Percentage)"
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "width": _part(1.0),
                "height": _part(1.0),
                "x": _part(0),
                "y": _part(0),
                "strength": _strength(),
            }
        }

    def append(
        self, conditioning: Conditioning, width: float, height: float, x: float, y: float, strength: float
    ) -> tuple[Conditioning]:
        """0 to 1 of the picture's sides."""
        area = ("percentage", height, width, y, x)
        return (with_values(conditioning, area=area, strength=strength, set_area_to_bounds=False),)


class ConditioningSetAreaPercentageVideo(Conditions):
    """Only in a block of a video, in parts of its sides and length."""

    PYTHON_MODULE = "comfy_extras.nodes_video_model"
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "width": _part(1.0),
                "height": _part(1.0),
                "temporal": _part(1.0),
                "x": _part(0),
                "y": _part(0),
                "z": _part(0),
                "strength": _strength(),
            }
        }

    def append(
        self,
        conditioning: Conditioning,
        width: float,
        height: float,
        temporal: float,
        x: float,
        y: float,
        z: float,
        strength: float,
    ) -> tuple[Conditioning]:
        """0 to 1; z and temporal are the beginning and the length in time."""
        area = ("percentage", temporal, height, width, z, y, x)
        return (with_values(conditioning, area=area, strength=strength, set_area_to_bounds=False),)


class ConditioningSetAreaStrength(Conditions):
    """How much it counts beside others."""

    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"conditioning": ("CONDITIONING",), "strength": _strength()}}

    def append(self, conditioning: Conditioning, strength: float) -> tuple[Conditioning]:
        """A weight."""
        return (with_values(conditioning, strength=strength),)


class ConditioningSetMask(Conditions):
    """Only where a mask says so."""

    DISPLAY_NAME = "Conditioning (Set Mask)"
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "mask": ("MASK",),
                "strength": _strength(),
                "set_cond_area": (["default", "mask bounds"],),
            }
        }

    def append(
        self, conditioning: Conditioning, mask: torch.Tensor, set_cond_area: str, strength: float
    ) -> tuple[Conditioning]:
        """With "mask bounds" only the rectangle around the mask is worked on."""
        batch = mask if mask.ndim > 2 else mask[None]
        to_bounds = set_cond_area != "default"
        return (with_values(conditioning, mask=batch, set_area_to_bounds=to_bounds, mask_strength=strength),)


class ConditioningZeroOut(Conditions):
    """Zeros in place of what it says."""

    CATEGORY = "advanced/conditioning"
    FUNCTION = "zero_out"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def zero_out(self, conditioning: Conditioning) -> tuple[Conditioning]:
        """Tokens, pooled output and lyrics."""
        made = []
        for tokens, options in conditioning:
            said = {key: options.get(key) for key in ("pooled_output", "conditioning_lyrics")}
            zeros = {key: torch.zeros_like(value) for key, value in said.items() if value is not None}
            made.append([torch.zeros_like(tokens), {**options, **zeros}])
        return (made,)


class ConditioningSetTimestepRange(Conditions):
    """Only in a part of the sampling."""

    CATEGORY = "advanced/conditioning"
    FUNCTION = "set_range"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        start, end = ({"default": default, "min": 0.0, "max": 1.0, "step": 0.001} for default in (0.0, 1.0))
        return {"required": {"conditioning": ("CONDITIONING",), "start": ("FLOAT", start), "end": ("FLOAT", end)}}

    def set_range(self, conditioning: Conditioning, start: float, end: float) -> tuple[Conditioning]:
        """From 0, the first step, to 1, the last."""
        return (with_values(conditioning, start_percent=start, end_percent=end),)


class ConditioningStableAudio(Conditions):
    """Which stretch of the sound is made."""

    PYTHON_MODULE = "comfy_extras.nodes_audio"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("positive", "negative")
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        start, total = ({"default": default, "min": 0.0, "max": 1000.0, "step": 0.1} for default in (0.0, 47.0))
        return {
            "required": {
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "seconds_start": ("FLOAT", start),
                "seconds_total": ("FLOAT", total),
            }
        }

    def append(
        self, positive: Conditioning, negative: Conditioning, seconds_start: float, seconds_total: float
    ) -> tuple[Conditioning, Conditioning]:
        """In seconds."""
        values = {"seconds_start": seconds_start, "seconds_total": seconds_total}
        return with_values(positive, **values), with_values(negative, **values)


class PairConditioningCombine(Conditions):
    """Two pairs; both of each kind hold."""

    DISPLAY_NAME = "Cond Pair Combine"
    CATEGORY = "advanced/hooks/cond pair"
    PYTHON_MODULE = "comfy_extras.nodes_hooks"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("positive", "negative")
    FUNCTION = "combine"
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        names = ("positive_A", "negative_A", "positive_B", "negative_B")
        return {"required": dict.fromkeys(names, ("CONDITIONING",))}

    def combine(
        self,
        positive_A: Conditioning,  # noqa: N803 - the inputs' own names
        negative_A: Conditioning,  # noqa: N803
        positive_B: Conditioning,  # noqa: N803
        negative_B: Conditioning,  # noqa: N803
    ) -> tuple[Conditioning, Conditioning]:
        """One list after the other."""
        return positive_A + positive_B, negative_A + negative_B


class ConditioningTimestepsRange(Conditions):
    """A part of the sampling, and what comes before and after it."""

    DISPLAY_NAME = "Timesteps Range"
    CATEGORY = "advanced/hooks"
    PYTHON_MODULE = "comfy_extras.nodes_hooks"
    RETURN_TYPES = ("TIMESTEPS_RANGE", "TIMESTEPS_RANGE", "TIMESTEPS_RANGE")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("TIMESTEPS_RANGE", "BEFORE_RANGE", "AFTER_RANGE")
    FUNCTION = "create_range"
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """Inputs."""
        start, end = ({"default": default, "min": 0.0, "max": 1.0, "step": 0.001} for default in (0.0, 1.0))
        return {"required": {"start_percent": ("FLOAT", start), "end_percent": ("FLOAT", end)}}

    def create_range(self, start_percent: float, end_percent: float) -> tuple[tuple[float, float], ...]:
        """Each (start, end) in 0 to 1."""
        return (start_percent, end_percent), (0.0, start_percent), (end_percent, 1.0)


NODES = (
    ConditioningCombine,
    ConditioningConcat,
    ConditioningAverage,
    ConditioningSetArea,
    ConditioningSetAreaPercentage,
    ConditioningSetAreaPercentageVideo,
    ConditioningSetAreaStrength,
    ConditioningSetMask,
    ConditioningZeroOut,
    ConditioningSetTimestepRange,
    ConditioningStableAudio,
    PairConditioningCombine,
    ConditioningTimestepsRange,
)
