"""Text is joined, cut, compared, and searched by regular expressions."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_core.errors import InputRefused
from comfy_core.nodes import regex
from tests.unit.comfy_core.bound_nodes import call, one

FLAGS = {"case_insensitive": True, "multiline": False, "dotall": False}


@pytest.mark.parametrize(
    ("name", "inputs", "result"),
    [
        ("StringConcatenate", {"string_a": "a", "string_b": "b", "delimiter": ", "}, "a, b"),
        ("StringSubstring", {"string": "abcdef", "start": 1, "end": -1}, "bcde"),
        ("StringSubstring", {"string": "abc", "start": 2, "end": 1}, ""),
        ("StringLength", {"string": "äöü\n"}, 4),
        ("CaseConverter", {"string": "don't panic", "mode": "Title Case"}, "Don'T Panic"),
        ("CaseConverter", {"string": "ABC def", "mode": "Capitalize"}, "Abc def"),
        ("CaseConverter", {"string": "ß", "mode": "UPPERCASE"}, "SS"),
        ("CaseConverter", {"string": "aB", "mode": "no such mode"}, "aB"),
        ("StringTrim", {"string": " a \n", "mode": "Left"}, "a \n"),
        ("StringTrim", {"string": " a \n", "mode": "Both"}, "a"),
        ("StringReplace", {"string": "aaa", "find": "a", "replace": "bb"}, "bbbbbb"),
        ("StringReplace", {"string": "ab", "find": "", "replace": "-"}, "-a-b-"),
        ("StringContains", {"string": "Abc", "substring": "ABC", "case_sensitive": True}, False),
        ("StringContains", {"string": "Abc", "substring": "ABC", "case_sensitive": False}, True),
        ("StringCompare", {"string_a": "ab", "string_b": "A", "mode": "Starts With", "case_sensitive": False}, True),
        ("StringCompare", {"string_a": "ab", "string_b": "b", "mode": "Ends With", "case_sensitive": True}, True),
        ("StringCompare", {"string_a": "ab", "string_b": "AB", "mode": "Equal", "case_sensitive": True}, False),
        ("RegexMatch", {"string": "x\nABC", "regex_pattern": "^a", **FLAGS, "multiline": True}, True),
        ("RegexMatch", {"string": "x", "regex_pattern": "[", **FLAGS}, False),
        ("RegexReplace", {"string": "a1b2", "regex_pattern": r"(\d)", "replace": r"<\1>"}, "a<1>b<2>"),
        ("RegexReplace", {"string": "a1b2", "regex_pattern": r"\d", "replace": "", "count": 1}, "ab2"),
    ],
)
def test_texts(name: str, inputs: dict[str, Any], result: Any) -> None:
    """Each node on a text that tells it from its neighbours."""
    assert one(name, **inputs) == result


@pytest.mark.parametrize(
    ("mode", "group", "result"),
    [
        ("First Match", 1, "k1=v1"),
        ("First Group", 2, "v1"),
        ("First Group", 3, ""),
        ("All Groups", 1, "k1\nk2"),
        ("All Groups", 0, "k1=v1\nk2=v2"),
        ("All Matches", 1, "k1\nk2"),
        ("no such mode", 1, ""),
    ],
)
def test_what_a_pattern_finds_can_be_had_in_parts(mode: str, group: int, result: str) -> None:
    """A group that the pattern lacks, and a mode that does not exist, give nothing."""
    found = one(
        "RegexExtract", string="k1=v1; k2=v2", regex_pattern=r"(\w+)=(\w+)", mode=mode, **FLAGS, group_index=group
    )
    assert found == result


def test_wrong_patterns_are_named_where_they_would_change_something() -> None:
    """Replacing by a wrong pattern, or by a group that is not there, is refused; extracting finds nothing."""
    with pytest.raises(InputRefused, match="not a regular expression"):
        call("RegexReplace", string="a", regex_pattern="(", replace="")
    with pytest.raises(InputRefused, match="invalid group reference"):
        call("RegexReplace", string="a", regex_pattern="a", replace=r"\7")
    assert one("RegexExtract", string="a", regex_pattern="(", mode="First Match", **FLAGS, group_index=1) == ""


def test_a_search_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """(a+)+b on thirty letters would take hours; it is refused when the patience is over, the thread is free."""
    monkeypatch.setattr(regex, "PATIENCE_S", 0.5)
    with pytest.raises(InputRefused, match="took longer"):
        call("RegexReplace", string="a" * 40, regex_pattern="(a+)+b", replace="")


def test_a_search_that_may_take_long_gives_what_a_short_one_gives() -> None:
    """In a process of its own the result is the same, letters of all scripts and missing groups included."""
    text = "größe=7; 数=八; empty=" + " " * 30
    pattern = r"(\w+)=(\w+)?"
    assert regex.may_take_long(pattern, text)
    assert not regex.may_take_long(pattern, text[:20])
    inputs = {"string": text, "regex_pattern": pattern, **FLAGS, "group_index": 2}
    assert one("RegexExtract", mode="All Groups", **inputs) == "7\n八\n"
    assert one("RegexExtract", mode="All Matches", **inputs) == "größe\n数\nempty"
    assert one("RegexMatch", string=text, regex_pattern=pattern + "$", **FLAGS) is False
    assert one("RegexReplace", string=text, regex_pattern=pattern, replace=r"\1:") == "größe:; 数:; empty:" + " " * 30
    with pytest.raises(InputRefused, match="invalid group reference"):
        call("RegexReplace", string=text, regex_pattern=pattern, replace=r"\7")
