"""Constants of a prompt: conversion to the declared type, ranges and choices. It knows no links."""

from __future__ import annotations

import math
from typing import Any

from comfy_core.graph.node import InputSpec
from comfy_core.graph.problem import Problem, not_convertible, not_in_list, too_big, too_small


def convert(spec: InputSpec, given: dict[str, Any]) -> Problem | None:
    """Replace the constant by one of the declared type, in place; `{"__value__": x}` stands for x."""
    value = given[spec.name]
    if isinstance(value, dict) and "__value__" in value:
        value = given[spec.name] = value["__value__"]
    try:
        given[spec.name] = _converted(spec.kind, value)
    except (ValueError, TypeError, OverflowError) as error:
        return not_convertible(spec, value, str(error))
    return None


def _converted(kind: Any, value: Any) -> Any:
    if kind == "INT":
        return int(value)
    if kind == "FLOAT":
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("not a finite number")
        return number
    if kind == "STRING":
        return str(value)
    if kind == "BOOLEAN":
        return bool(value)
    return value


def check_range(spec: InputSpec, value: Any) -> Problem | None:
    """Minimum, maximum and membership, as the input declares them."""
    if spec.kind in ("INT", "FLOAT"):
        if "min" in spec.options and value < spec.options["min"]:
            return too_small(spec, value)
        if "max" in spec.options and value > spec.options["max"]:
            return too_big(spec, value)
    choices = spec.choices
    if choices is not None and value not in choices:
        return not_in_list(spec, choices, value)
    return None
