"""Nodes that join, cut, change and compare text. They know no patterns."""

from __future__ import annotations

from collections.abc import Callable

from comfy_core.memory import require
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

CATEGORY = "utils/string"
WIDEST_CHARACTER = 4

CASES: dict[str, Callable[[str], str]] = {
    "UPPERCASE": str.upper,
    "lowercase": str.lower,
    "Capitalize": str.capitalize,
    "Title Case": str.title,
}
TRIMS: dict[str, Callable[[str], str]] = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "Starts With": str.startswith,
    "Ends With": str.endswith,
    "Equal": str.__eq__,
}


def field(name: str) -> io.Input:
    """A text of several lines."""
    return io.String.Input(name, multiline=True)


def node(node_id: str, display_name: str, inputs: list[io.Input], output: io.Output) -> io.Schema:
    """The declaration of a node of this theme."""
    return io.Schema(node_id=node_id, display_name=display_name, category=CATEGORY, inputs=inputs, outputs=[output])


class Text(BuiltIn, io.ComfyNode):
    """Base of the nodes of this theme. Not a node itself."""

    PYTHON_MODULE = "comfy_extras.nodes_string"


class StringConcatenate(Text):
    """Two texts with something between."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        delimiter = io.String.Input("delimiter", multiline=False, default="")
        inputs = [field("string_a"), field("string_b"), delimiter]
        return node("StringConcatenate", "Concatenate", inputs, io.String.Output())

    @classmethod
    def execute(cls, string_a: str, string_b: str, delimiter: str) -> io.NodeOutput:
        """a, delimiter, b."""
        return io.NodeOutput(delimiter.join((string_a, string_b)))


class StringSubstring(Text):
    """A part of a text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [field("string"), io.Int.Input("start"), io.Int.Input("end")]
        return node("StringSubstring", "Substring", inputs, io.String.Output())

    @classmethod
    def execute(cls, string: str, start: int, end: int) -> io.NodeOutput:
        """From start to before end; negative counts from the end."""
        return io.NodeOutput(string[start:end])


class StringLength(Text):
    """How many characters."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return node("StringLength", "Length", [field("string")], io.Int.Output(display_name="length"))

    @classmethod
    def execute(cls, string: str) -> io.NodeOutput:
        """Code points."""
        return io.NodeOutput(len(string))


class CaseConverter(Text):
    """Upper and lower case."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [field("string"), io.Combo.Input("mode", options=list(CASES))]
        return node("CaseConverter", "Case Converter", inputs, io.String.Output())

    @classmethod
    def execute(cls, string: str, mode: str) -> io.NodeOutput:
        """An unknown mode changes nothing."""
        return io.NodeOutput(CASES[mode](string) if mode in CASES else string)


class StringTrim(Text):
    """Without blanks at the ends."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [field("string"), io.Combo.Input("mode", options=list(TRIMS))]
        return node("StringTrim", "Trim", inputs, io.String.Output())

    @classmethod
    def execute(cls, string: str, mode: str) -> io.NodeOutput:
        """An unknown mode changes nothing."""
        return io.NodeOutput(TRIMS[mode](string) if mode in TRIMS else string)


class StringReplace(Text):
    """One piece of text for another, everywhere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [field("string"), field("find"), field("replace")]
        return node("StringReplace", "Replace", inputs, io.String.Output())

    @classmethod
    def execute(cls, string: str, find: str, replace: str) -> io.NodeOutput:
        """An empty text is found between any two characters. Raises OutOfMemory when the result would not fit."""
        grown = string.count(find) * max(len(replace) - len(find), 0)
        require((len(string) + grown) * WIDEST_CHARACTER, "StringReplace")
        return io.NodeOutput(string.replace(find, replace))


class StringContains(Text):
    """Whether a text is within another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        sensitive = io.Boolean.Input("case_sensitive", default=True)
        inputs = [field("string"), field("substring"), sensitive]
        return node("StringContains", "Contains", inputs, io.Boolean.Output(display_name="contains"))

    @classmethod
    def execute(cls, string: str, substring: str, case_sensitive: bool) -> io.NodeOutput:
        """Without case both are taken in lower case."""
        return io.NodeOutput(substring in string if case_sensitive else substring.lower() in string.lower())


class StringCompare(Text):
    """Whether two texts are equal, or one begins or ends with the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [
            field("string_a"),
            field("string_b"),
            io.Combo.Input("mode", options=list(COMPARISONS)),
            io.Boolean.Input("case_sensitive", default=True),
        ]
        return node("StringCompare", "Compare", inputs, io.Boolean.Output())

    @classmethod
    def execute(cls, string_a: str, string_b: str, mode: str, case_sensitive: bool) -> io.NodeOutput:
        """Without case both are taken in lower case. An unknown mode gives no answer."""
        if mode not in COMPARISONS:
            return io.NodeOutput(None)
        if not case_sensitive:
            string_a, string_b = string_a.lower(), string_b.lower()
        return io.NodeOutput(COMPARISONS[mode](string_a, string_b))


NODES: tuple[type[BuiltIn], ...] = (
    StringConcatenate,
    StringSubstring,
    StringLength,
    CaseConverter,
    StringTrim,
    StringReplace,
    StringContains,
    StringCompare,
)
