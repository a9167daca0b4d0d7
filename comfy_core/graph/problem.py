"""The validation errors of a node, in the exact shapes ComfyUI's clients know. It decides nothing."""

from __future__ import annotations

import math
from typing import Any

from comfy_core.graph.node import InputSpec

Problem = dict[str, Any]
"""{type, message, details, extra_info}."""

LONG_LIST = 20


def _problem(kind: str, message: str, details: str, extra: dict[str, Any]) -> Problem:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def _received(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _about(spec: InputSpec, value: Any) -> dict[str, Any]:
    return {"input_name": spec.name, "input_config": spec.config, "received_value": _received(value)}


def missing_input(spec: InputSpec) -> Problem:
    """A required input that is not there."""
    return _problem("required_input_missing", "Required input is missing", spec.name, {"input_name": spec.name})


def bad_link(spec: InputSpec, value: list[Any]) -> Problem:
    """A list that is no link."""
    message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    return _problem("bad_linked_input", message, spec.name, _about(spec, value))


def type_mismatch(spec: InputSpec, received: Any, link: list[Any]) -> Problem:
    """A link from an output of another type."""
    extra = {
        "input_name": spec.name,
        "input_config": spec.config,
        "received_type": received,
        "linked_node": link,
    }
    details = f"{spec.name}, received_type({received}) mismatch input_type({spec.kind})"
    return _problem("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)


def not_convertible(spec: InputSpec, value: Any, why: str) -> Problem:
    """A constant that is not of the declared type."""
    extra = _about(spec, value) | {"exception_message": why}
    message = f"Failed to convert an input value to a {spec.kind} value"
    return _problem("invalid_input_type", message, f"{spec.name}, {value}, {why}", extra)


def too_small(spec: InputSpec, value: Any) -> Problem:
    """A number under the declared minimum."""
    message = f"Value {value} smaller than min of {spec.options['min']}"
    return _problem("value_smaller_than_min", message, spec.name, _about(spec, value))


def too_big(spec: InputSpec, value: Any) -> Problem:
    """A number over the declared maximum."""
    message = f"Value {value} bigger than max of {spec.options['max']}"
    return _problem("value_bigger_than_max", message, spec.name, _about(spec, value))


def not_in_list(spec: InputSpec, choices: list[Any], value: Any) -> Problem:
    """A choice that is not offered."""
    long = len(choices) > LONG_LIST
    listed = f"(list of length {len(choices)})" if long else str(choices)
    extra = _about(spec, value) | ({"input_config": None} if long else {})
    return _problem("value_not_in_list", "Value not in list", f"{spec.name}: '{value}' not in {listed}", extra)


def refused_by_node(name: str, answer: Any) -> Problem:
    """The node's own validation said no."""
    details = name if answer is False else f"{name} - {answer}"
    return _problem("custom_validation_failed", "Custom validation failed for node", details, {"input_name": name})


def exception_details(error: BaseException, lines: list[str]) -> dict[str, Any]:
    """An exception as validation errors carry it."""
    return {"message": in_words(error), "type": type_name(error), "traceback": lines}


def from_exception(raised: dict[str, Any]) -> Problem:
    """Checking an output node raised."""
    extra = {"exception_type": raised["type"], "traceback": raised["traceback"]}
    return _problem("exception_during_validation", "Exception when validating node", raised["message"], extra)


def from_inner_exception(spec: InputSpec, link: list[Any], raised: dict[str, Any]) -> Problem:
    """Checking a node further up raised; spec and link are those of the consumer it was reached by."""
    extra = {
        "input_name": spec.name,
        "input_config": spec.config,
        "exception_message": raised["message"],
        "exception_type": raised["type"],
        "traceback": raised["traceback"],
        "linked_node": link,
    }
    message = "Exception when validating inner node"
    return _problem("exception_during_inner_validation", message, raised["message"], extra)


def cycle_found(circle: list[str]) -> Problem:
    """Nodes that depend on each other; ComfyUI overflows its stack here, we name the circle."""
    shown = [*circle[:LONG_LIST], "..."] if len(circle) > LONG_LIST else circle
    details = " -> ".join([*shown, circle[0]])
    return _problem("dependency_cycle", "Dependency cycle detected", details, {"nodes": shown})


def type_name(error: BaseException) -> str:
    """The exception's class, qualified by its module unless it is a builtin."""
    cls = type(error)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def in_words(value: object) -> str:
    """A value as text; its type's name when it cannot be put into words."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value or error of a node pack's own; a report about it must not fail
        return type(value).__name__
