"""Nodes that find and replace by regular expressions, in the language of Python's `re`.

A search cannot be interrupted and holds up every other thread, and some patterns take centuries on a text of a line.
So a search that might is made in a process of its own, which can be ended.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from comfy_core.errors import InputRefused
from comfy_core.nodes import regex_search
from comfy_core.nodes.regex_search import MODES, Job
from comfy_core.nodes.text import Text, field, node
from comfy_core.progress import stop_if_asked
from comfy_core.registry import BuiltIn
from comfy_core.v3 import io

REPEATS = re.compile(r"[*+?{|]")
SHORT_TEXT, LONG_TEXT = 20, 5000
"""Characters on which several repeats, or a single one, cannot take long."""
PATIENCE_S = 10.0
STEP_S = 0.1


def _flags(*, optional: bool = False) -> list[io.Input]:
    return [
        io.Boolean.Input("case_insensitive", default=True, optional=optional),
        io.Boolean.Input("multiline", default=False, optional=optional),
        io.Boolean.Input("dotall", default=False, optional=optional),
    ]


def searched(what: str, pattern: str, text: str, flags: tuple[bool, bool, bool], **more: Any) -> Any:
    """The result of a search. flags: case insensitive, multiline, dotall. Raises InputRefused for a wrong pattern."""
    wanted = re.NOFLAG
    for flag, on in zip((re.IGNORECASE, re.MULTILINE, re.DOTALL), flags, strict=True):
        wanted |= flag if on else re.NOFLAG
    job: Job = {"what": what, "pattern": pattern, "flags": int(wanted), "text": text, **more}
    try:
        return _apart(job) if may_take_long(pattern, text) else regex_search.answer(job)
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        raise InputRefused(f"{pattern[:200]!r} is not a regular expression that works here: {error}") from error


def may_take_long(pattern: str, text: str) -> bool:
    """Whether a pattern repeats enough, and a text is long enough, for the search to grow out of hand."""
    repeats = len(REPEATS.findall(pattern))
    return repeats > 0 and len(text) > (SHORT_TEXT if repeats > 1 else LONG_TEXT)


def _apart(job: Job) -> Any:
    """In a process of its own. Raises InputRefused when it takes too long, Interrupted when someone asks to stop."""
    argv = [sys.executable, "-I", "-S", regex_search.__file__]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        try:
            told = _waited(child, json.dumps(job))
        finally:
            child.kill()
    made = json.loads(told)
    if "error" in made:
        raise re.error(made["error"])
    return made["value"]


def _waited(child: subprocess.Popen[str], job: str) -> str:
    given: str | None = job
    for _ in range(round(PATIENCE_S / STEP_S)):
        stop_if_asked()
        try:
            return child.communicate(given, timeout=STEP_S)[0]
        except subprocess.TimeoutExpired:
            given = None
    raise InputRefused(f"the regular expression took longer than {PATIENCE_S:g} s on this text")


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
            re.compile(regex_pattern)
        except re.error:
            return io.NodeOutput(False)
        return io.NodeOutput(searched("match", regex_pattern, string, (case_insensitive, multiline, dotall)))


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
            re.compile(regex_pattern)
        except re.error:
            return io.NodeOutput("")
        flags = (case_insensitive, multiline, dotall)
        return io.NodeOutput(searched("extract", regex_pattern, string, flags, mode=mode, group=group_index))


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
        flags = (case_insensitive, multiline, dotall)
        return io.NodeOutput(searched("replace", regex_pattern, string, flags, replacement=replace, count=count))


NODES: tuple[type[BuiltIn], ...] = (RegexMatch, RegexExtract, RegexReplace)
