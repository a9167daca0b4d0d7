"""`utils.json_util`: JSON laid over JSON."""

from typing import Any


def merge_json_recursive(base: Any, update: Any) -> Any:
    """base with update laid over it, in place: mappings merged, lists joined, other values replaced."""
    if not isinstance(base, dict) or not isinstance(update, dict):
        return base + update if isinstance(base, list) and isinstance(update, list) else update
    for key, value in update.items():
        base[key] = merge_json_recursive(base[key], value) if key in base else value
    return base
