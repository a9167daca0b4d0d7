"""What is printed becomes lines; the page that stands where no front end is installed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from comfy_core.log import LINES_KEPT, Journal, Printed, in_words
from comfy_core.server import frontend


def test_printed_lines_are_logged_whole() -> None:
    """Parts are joined until the line feed; of a progress bar only its end is kept."""
    with structlog.testing.capture_logs() as logged:
        out = Printed(io.StringIO(), "stdout")
        print("one", 2, file=out)
        out.write("\r 10%|#   |")
        out.write("\r 50%|##  |")
        out.write("\r100%|####|\n\n")
        out.write("left open")
    assert [(line["event"], line["printed"]) for line in logged] == [("one 2", "stdout"), ("100%|####|", "stdout")]


def test_the_journal_keeps_the_last_lines_in_plain_words() -> None:
    """Words first, then what else was said; the newest is told at once."""
    journal, told = Journal(), list[Any]()
    journal.tell = told.append
    for number in range(LINES_KEPT + 5):
        said: Any = {"event": "prompt done", "level": "info", "timestamp": "now", "number": number}
        assert journal.add(None, "info", said) is said
    assert len(journal.entries()) == LINES_KEPT
    assert journal.entries()[-1]["m"] == f"[info] prompt done number={LINES_KEPT + 4}\n"
    assert in_words(told[-1]) == journal.entries()[-1]
    json.dumps(journal.entries())


def test_a_front_end_is_found_where_it_was_told_or_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that was named comes first, then the package's, then none."""
    assert frontend.find(tmp_path) == tmp_path
    static = tmp_path / "made_up_front_end" / "static"
    static.mkdir(parents=True)
    (static.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(frontend, "PACKAGE", "made_up_front_end")
    assert frontend.find(None) is None
    (static / "index.html").touch()
    assert frontend.find(None) == static
    monkeypatch.setattr(frontend, "PACKAGE", "no_such_front_end")
    assert frontend.find(None) is None


def test_the_own_page_says_what_is_missing() -> None:
    """It names the package and the flag, and asks nothing of another site."""
    assert "comfyui-frontend-package" in frontend.OWN_PAGE
    assert "--front-end-root" in frontend.OWN_PAGE
    assert "http" not in frontend.OWN_PAGE
