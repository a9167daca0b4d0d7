"""Nodes that find and replace by regular expressions, in the language of Python's `re`."""

from __future__ import annotations

import re

from comfy_core.errors import InputRefused
from comfy_core.nodes.text import Text, field, node
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

MODES = ["First Match", "All Matches", "First Group", "All Groups"]


def _flags(*, optional: bool = False) -> list[io.Input]:
    return [
        io.Boolean.Input("case_insensitive", default=True, optional=optional),
        io.Boolean.Input("multiline", default=False, optional=optional),
        io.Boolean.Input("dotall", default=False, optional=optional),
    ]


def compiled(pattern: str, case_insensitive: bool, multiline: bool, dotall: bool) -> re.Pattern[str]:
    """The pattern. Raises InputRefused for one that is wrong."""
    wanted = ((re.IGNORECASE, case_insensitive), (re.MULTILINE, multiline), (re.DOTALL, dotall))
    flags = re.NOFLAG
    for flag, on in wanted:
        flags |= flag if on else re.NOFLAG
    try:
        return re.compile(pattern, flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputRefused(f"{pattern[:200]!r} is not a regular expression: {error}") from error


class RegexMatch(Text):
    """Whether a pattern is found."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [field("string"), field("regex_pattern"), *_flags()]
        return node("RegexMatch", "Regex Match", inputs, io.Boolean.Output(display_name="matches"))

    @classmethod
    def execute(
        cls, string: str, regex_pattern: str, case_insensitive: bool, multiline: bool, dotall: bool
    ) -> io.NodeOutput:
        """Anywhere in the text. A wrong pattern is found nowhere."""
        try:
            pattern = compiled(regex_pattern, case_insensitive, multiline, dotall)
        except InputRefused:
            return io.NodeOutput(False)
        return io.NodeOutput(pattern.search(string) is not None)


class RegexExtract(Text):
    """What a pattern, or a group of it, stands for in a text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [
            field("string"),
            field("regex_pattern"),
            io.Combo.Input("mode", options=MODES),
            *_flags(),
            io.Int.Input("group_index", default=1, min=0, max=100),
        ]
        return node("RegexExtract", "Regex Extract", inputs, io.String.Output())

    @classmethod
    def execute(
        cls,
        string: str,
        regex_pattern: str,
        mode: str,
        case_insensitive: bool,
        multiline: bool,
        dotall: bool,
        group_index: int,
    ) -> io.NodeOutput:
        """Several finds on lines of their own; nothing found, or a wrong pattern, is an empty text."""
        try:
            pattern = compiled(regex_pattern, case_insensitive, multiline, dotall)
        except InputRefused:
            return io.NodeOutput("")
        return io.NodeOutput(_extract(pattern, string, mode, group_index))


def _extract(pattern: re.Pattern[str], text: str, mode: str, group: int) -> str | None:
    if mode not in MODES or (mode.endswith(("Group", "Groups")) and group > pattern.groups):
        return ""
    if mode.startswith("First"):
        found = pattern.search(text)
        return "" if found is None else found.group(0 if mode == "First Match" else group)
    if mode == "All Matches":
        return "\n".join(_first_piece(piece) for piece in pattern.findall(text))
    if pattern.groups == 0:
        return ""
    return "\n".join(found.group(group) or "" for found in pattern.finditer(text))


def _first_piece(piece: str | tuple[str, ...]) -> str:
    return piece if isinstance(piece, str) else piece[0]


class RegexReplace(Text):
    """What a pattern finds, replaced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        inputs = [
            field("string"),
            field("regex_pattern"),
            field("replace"),
            *_flags(optional=True),
            io.Int.Input("count", default=0, min=0, max=100, optional=True),
        ]
        schema = node("RegexReplace", "Regex Replace", inputs, io.String.Output())
        schema.description = "Puts other text in place of what a regular expression finds."
        return schema

    @classmethod
    def execute(
        cls,
        string: str,
        regex_pattern: str,
        replace: str,
        case_insensitive: bool = True,
        multiline: bool = False,
        dotall: bool = False,
        count: int = 0,
    ) -> io.NodeOutput:
        """At most `count` times, 0 for all; \\1 stands for a group. Raises InputRefused for a wrong pattern."""
        pattern = compiled(regex_pattern, case_insensitive, multiline, dotall)
        try:
            return io.NodeOutput(pattern.sub(replace, string, count=count))
        except (re.error, IndexError) as error:
            raise InputRefused(f"{replace[:200]!r} is not a replacement: {error}") from error


NODES: tuple[type[BuiltIn], ...] = (RegexMatch, RegexExtract, RegexReplace)
