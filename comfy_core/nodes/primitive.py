"""Nodes that hand on a constant."""

from __future__ import annotations

from typing import Any, ClassVar

from comfy_core.registry import BuiltIn

LARGEST = 2**63 - 1


class Primitive(BuiltIn):
    """A value as it is. Not a node itself."""

    CATEGORY = "utils/primitive"
    PYTHON_MODULE = "comfy_extras.nodes_primitive"
    FUNCTION = "execute"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    OPTIONS: ClassVar[dict[str, Any]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the node protocol's name
        """Inputs."""
        return {"required": {"value": (cls.RETURN_TYPES[0], cls.OPTIONS)}}

    def execute(self, value: Any) -> tuple[Any]:
        """The value."""
        return (value,)


class PrimitiveString(Primitive):
    """A line of text."""

    DISPLAY_NAME = "String"
    RETURN_TYPES = ("STRING",)
    OPTIONS: ClassVar[dict[str, Any]] = {"multiline": False}


class PrimitiveStringMultiline(Primitive):
    """Text of several lines."""

    DISPLAY_NAME = "String (Multiline)"
    RETURN_TYPES = ("STRING",)
    OPTIONS: ClassVar[dict[str, Any]] = {"multiline": True}


class PrimitiveInt(Primitive):
    """A whole number."""

    DISPLAY_NAME = "Int"
    RETURN_TYPES = ("INT",)
    OPTIONS: ClassVar[dict[str, Any]] = {"min": -LARGEST, "max": LARGEST, "control_after_generate": True}


class PrimitiveFloat(Primitive):
    """A number."""

    DISPLAY_NAME = "Float"
    RETURN_TYPES = ("FLOAT",)
    OPTIONS: ClassVar[dict[str, Any]] = {"min": -LARGEST, "max": LARGEST}


class PrimitiveBoolean(Primitive):
    """True or false."""

    DISPLAY_NAME = "Boolean"
    RETURN_TYPES = ("BOOLEAN",)


NODES = (PrimitiveString, PrimitiveStringMultiline, PrimitiveInt, PrimitiveFloat, PrimitiveBoolean)
