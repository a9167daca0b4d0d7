"""Whether an output may be linked to an input, by their types."""

from __future__ import annotations

from typing import Any


def validate_node_input(received_type: Any, input_type: Any, strict: bool = False) -> bool:
    """Types are comma-separated names. One in common is enough; `strict`: every received one must be taken.

    A type that is a str with an inequality of its own, as packs write it for "any type", is asked first.
    """
    if not received_type != input_type:  # noqa: SIM202 - a pack's type may answer != and == differently
        return True
    if not isinstance(received_type, str) or not isinstance(input_type, str):
        return False
    received, taken = _names(received_type), _names(input_type)
    return received <= taken if strict else bool(received & taken)


def _names(kind: str) -> set[str]:
    return {name.strip() for name in kind.split(",")}
