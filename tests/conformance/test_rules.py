"""No rule is left out: each is claimed by a test, and each test of this suite says which rule it is about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.rules import EXECUTOR, SERVER, WAITING

TESTS = Path(__file__).parents[1]
PLACES = ("conformance", "executor", "wire", "unit/comfy_core")
RULES = SERVER | EXECUTOR


def docstrings(place: str) -> Iterator[tuple[str, str]]:
    """(where, first line) of every test."""
    for path in sorted((TESTS / place).rglob("test_*.py")):
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef) and found.name.startswith("test_"):
                yield f"{path.name}::{found.name}", (ast.get_docstring(found) or "").split("\n")[0]


def claimed(line: str) -> set[str]:
    """The rules that a docstring begins with: `2.4.2, 2.4.3: ...`."""
    claims, _, rest = line.partition(": ")
    if not rest:
        return set()
    return {rule for rule in [*RULES, *WAITING] if re.search(rf"(?:^|, ){re.escape(rule)}(?=[\s,?]|$)", claims)}


def test_every_rule_is_claimed() -> None:
    """2.1.1: and all others; each rule has at least one test, in the engine's, the server's or the packs' suite."""
    found = {rule for place in PLACES for _, line in docstrings(place) for rule in claimed(line)}
    assert not set(RULES) - found


def test_every_test_of_this_suite_names_a_rule() -> None:
    """2.1.1: and all others; a docstring whose number is no rule's is a slip."""
    assert not [where for where, line in docstrings("conformance") if not claimed(line)]
    numbered = re.compile(r"2\.\d+\.\d+")
    slips = [
        (where, number)
        for place in PLACES
        for where, line in docstrings(place)
        for number in numbered.findall(line.partition(": ")[0])
        if number not in RULES and number not in WAITING
    ]
    assert not slips


def test_rules_of_nodes_to_come_are_due_with_them() -> None:
    """2.9.1: and all others; a class that has come brings its rule into the list above."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (TESTS.parent / "comfy_core/nodes").glob("*.py"))
    assert not [rule for rule, (cls, _) in WAITING.items() if re.search(rf"^class {cls}\b", source, re.MULTILINE)]


def test_sections_are_complete() -> None:
    """2.1.1: and all others; no section and no number within one is missing from the list."""
    sections = {rule.split(" ")[0] for rule in SERVER}
    assert sections == {f"1.{number}" for number in range(1, 7)}
    counts = {1: 9, 2: 4, 3: 4, 4: 9, 5: 4, 6: 3, 7: 7, 8: 9, 9: 3, 10: 8, 11: 2, 12: 3}
    expected = {f"2.{section}.{number}" for section, count in counts.items() for number in range(1, count + 1)}
    assert EXECUTOR.keys() | WAITING.keys() == expected
