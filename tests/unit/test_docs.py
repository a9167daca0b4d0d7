"""The documents agree with the program: links lead somewhere, and settings, codes and words are those of the code."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from drivers.wire import FailureClass
from machine_agent import config as agent_config
from orchestrator.config import Config
from orchestrator.runs.state import STATUSES, TRANSITIONS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    return [match.split(" | ") for match in ROW.findall(text)]


def _anchors(page: Path) -> set[str]:
    """A page's headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that exists, and a heading that it has."""
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path), target


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "empty" if value == "" else f"`{value}`"


def test_every_setting_of_the_orchestrator_is_told_with_its_default() -> None:
    """operations.md has one row for each field of Config, in its order, and no other."""
    told = [row[:2] for row in _rows(_page("operations.md")) if row[0].startswith("`FLEET_")]
    fields = zip(Config.__struct_fields__, Config.__struct_defaults__, strict=True)
    assert told == [[f"`FLEET_{name.upper()}`", _shown(value)] for name, value in fields if name != "extra"]


def test_every_option_of_the_agent_is_told_with_its_variable() -> None:
    """operations.md has a row for each option of `machine_agent run`, and its number where the default is one."""
    told = {row[0].strip("`"): row[1:3] for row in _rows(_page("operations.md")) if row[0].startswith("`--")}
    options = _run_options()
    assert set(told) == set(options)
    for flag, default in options.items():
        assert told[flag][0] == f"`FLEET_{flag.strip('-').upper().replace('-', '_')}`"
        if isinstance(default, str) and default.isdecimal():
            assert told[flag][1] == f"`{default}`"


def _run_options() -> dict[str, object]:
    """The flags of `machine_agent run` with their defaults."""
    commands = next(
        action for action in agent_config._parser({})._actions if isinstance(action, argparse._SubParsersAction)
    )
    actions = commands.choices["run"]._actions
    return {action.option_strings[0]: action.default for action in actions if action.dest != "help"}


def test_every_code_of_an_error_is_told() -> None:
    """errors.md names each code that the orchestrator's source gives to a problem or to a field of one."""
    given: set[str] = set()
    for path in (ROOT / "orchestrator").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        given |= set(re.findall(r'\bcode ?= ?"([a-z_0-9]+)"', text))
        given |= set(re.findall(r'status, title, code = \d+, "[^"]*", "([a-z_]+)"', text))
        given |= set(re.findall(r'FieldError\([^\n]*, "([a-z_]+)"\)', text))
    told = set(re.findall(r"`([a-z_0-9]+)`", _page("API/errors.md")))
    assert len(given) > 40
    assert given - told == set()


def test_the_life_of_a_run_is_told_in_the_codes_words() -> None:
    """run-lifecycle.md has every status, every trigger and every class of failure."""
    told = set(re.findall(r"`([a-z_\-]+)`", _page("run-lifecycle.md")))
    triggers = {trigger for triggers in TRANSITIONS.values() for trigger in triggers}
    assert set(STATUSES) | triggers | set(FailureClass.__args__) <= told


def test_every_log_line_named_exists() -> None:
    """The lines that operations.md explains are written by the orchestrator or the agent."""
    logs = _page("operations.md").partition("## Logs")[2].partition("## Woken")[0]
    named = {name for row in _rows(logs) for name in re.findall(r"`([^`]+)`", row[0])} - {"loop", "request_id"}
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("orchestrator", "machine_agent")
        for path in (ROOT / package).rglob("*.py")
    )
    assert named
    assert {name for name in named if f'("{name}"' not in code} == set()


def test_every_file_named_exists() -> None:
    """Source files that ARCHITECTURE.md and run-lifecycle.md name are there."""
    for page in ("ARCHITECTURE.md", "run-lifecycle.md"):
        for name in re.findall(r"`([a-z_/]+\.py)`", _page(page)):
            found = [ROOT / name, ROOT / "orchestrator" / name, ROOT / "machine_agent" / name]
            assert any(path.exists() for path in found), f"{page}: {name}"
