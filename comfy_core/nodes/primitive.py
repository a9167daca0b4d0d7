"""Nodes that hand on a constant."""

from __future__ import annotations

from typing import Any

from comfy_core.light import always
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

LARGEST = 2**63 - 1


class Primitive(BuiltIn):
    """A value as it is. Not a node itself."""

    PYTHON_MODULE = "comfy_extras.nodes_primitive"
    LIGHT = always

    @classmethod
    def declared(cls, display_name: str, taken: io.Input, given: io.Output) -> io.Schema:
        """The schema of a node that takes one value and returns it."""
        return io.Schema(cls.__name__, display_name, "utils/primitive", [taken], [given])

    @classmethod
    def execute(cls, value: Any) -> io.NodeOutput:
        """The value."""
        return io.NodeOutput(value)


class PrimitiveString(Primitive, io.ComfyNode):
    """A line of text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        return cls.declared("String", io.String.Input("value"), io.String.Output())


class PrimitiveStringMultiline(Primitive, io.ComfyNode):
    """Text of several lines."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        return cls.declared("String (Multiline)", io.String.Input("value", multiline=True), io.String.Output())


class PrimitiveInt(Primitive, io.ComfyNode):
    """A whole number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        value = io.Int.Input("value", min=-LARGEST, max=LARGEST, control_after_generate=True)
        return cls.declared("Int", value, io.Int.Output())


class PrimitiveFloat(Primitive, io.ComfyNode):
    """A number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        return cls.declared("Float", io.Float.Input("value", min=-LARGEST, max=LARGEST), io.Float.Output())


class PrimitiveBoolean(Primitive, io.ComfyNode):
    """True or false."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Declaration."""
        return cls.declared("Boolean", io.Boolean.Input("value"), io.Boolean.Output())


NODES = (PrimitiveString, PrimitiveStringMultiline, PrimitiveInt, PrimitiveFloat, PrimitiveBoolean)
