"""Nodes that show a value as text."""

from __future__ import annotations

import json
from typing import Any

from comfy_core.light import always
from comfy_core.registry import BuiltIn


class PreviewAny(BuiltIn):
    """Any value as text."""

    DISPLAY_NAME = "Preview Any"
    CATEGORY = "utils"
    PYTHON_MODULE = "comfy_extras.nodes_preview_any"
    RETURN_TYPES = ()
    FUNCTION = "main"
    OUTPUT_NODE = True
    LIGHT = always

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"source": ("*", {})}}

    def main(self, source: Any = None) -> dict[str, Any]:
        """Text as it is, numbers as written, structures as JSON, anything else as Python shows it."""
        return {"ui": {"text": (as_text(source),)}}


def as_text(value: Any) -> str:
    """A value for people to read."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)


NODES = (PreviewAny,)
