"""The house figures: what `make check` holds the code to beyond lint and types. Lists every offender."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "machine_agent", "comfy_core", "drivers", "client", "bench", "deploy")
FUNCTION_LINES = 80
FUNCTION_P95 = 40
MODULE_LINES = 500
ARCHITECTURE_LINES = 800
COMPAT = ROOT / "comfy_core" / "compat"
LAZY_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> list[Path]:
    """Every Python file of ours that is not a test."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name(path: Path) -> str:
    """A file as the list of offenders names it."""
    return str(path.relative_to(ROOT))


def functions() -> Iterator[tuple[Path, Function, int]]:
    """Every function with its length in lines, signature and docstring included."""
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, Function):
                yield path, node, (node.end_lineno or node.lineno) - node.lineno + 1


def test_there_is_something_to_measure() -> None:
    """The figures are taken from the real packages."""
    assert len(sources()) > 40


def test_functions_are_short() -> None:
    """No function is longer than 80 lines."""
    long = [
        f"{name(path)}:{node.lineno} {node.name} {lines}" for path, node, lines in functions() if lines > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_most_functions_are_shorter_still() -> None:
    """95 of 100 functions have at most 40 lines."""
    lengths = sorted(lines for _, _, lines in functions())
    assert lengths[int(len(lengths) * 0.95)] <= FUNCTION_P95


def test_modules_are_short() -> None:
    """No module is longer than 500 lines, one model architecture than 800."""
    long = []
    for path in sources():
        limit = ARCHITECTURE_LINES if (ROOT / "comfy_core" / "models") in path.parents else MODULE_LINES
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > limit:
            long.append(f"{name(path)} {lines} > {limit}")
    assert not long, "\n".join(long)


def test_names_say_what_is_inside() -> None:
    """No file is called utils, helpers or manager, but where node packs import it by that name."""
    ours = [path for path in sources() if COMPAT not in path.parents]
    parts = [path for path in ours for part in path.relative_to(ROOT).with_suffix("").parts if part in LAZY_NAMES]
    assert not parts, "\n".join(map(name, parts))


def test_nothing_is_global() -> None:
    """No function rebinds a module's variable."""
    found = [
        f"{name(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Global)
    ]
    assert not found, "\n".join(found)


def test_every_module_introduces_itself() -> None:
    """Each file opens with what it does; an empty package marker needs no words."""
    silent = [name(path) for path in sources() if tree(path).body and not ast.get_docstring(tree(path))]
    assert not silent, "\n".join(silent)


def test_everything_is_annotated() -> None:
    """Every argument and every result has its type."""
    bare = [f"{name(path)}:{node.lineno} {node.name}" for path, node, _ in functions() if not annotated(node)]
    assert not bare, "\n".join(bare)


def annotated(node: Function) -> bool:
    """Whether a function says all its types; self and cls need none."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    rest = [argument for argument in (node.args.vararg, node.args.kwarg) if argument is not None]
    typed = all(one.annotation is not None or one.arg in ("self", "cls") for one in [*given, *rest])
    return typed and (node.returns is not None or node.name == "__init__")


def test_nothing_is_left_for_later() -> None:
    """No comment announces work that was not done, in code or in tests."""
    found = [
        f"{name(path)}:{token.start[0]} {token.string}"
        for path in [*sources(), *sorted((ROOT / "tests").rglob("*.py"))]
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        if token.type == tokenize.COMMENT and UNFINISHED.search(token.string)
    ]
    assert not found, "\n".join(found)


def test_tests_say_what_they_show() -> None:
    """Every test has a docstring."""
    silent = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("package", ["orchestrator", "machine_agent", "comfy_core", "client"])
def test_the_environment_has_one_door(package: str) -> None:
    """os.environ and os.getenv are read in a config.py only."""
    found = [
        f"{name(path)}:{node.lineno}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "config.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]
    assert not found, "\n".join(found)
