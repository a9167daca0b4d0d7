"""Searching by a regular expression, as a function and as a program of its own: Python's library is all it imports.

As a program it reads one job as JSON from standard input and writes {"value": ...} or {"error": ...}.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

MODES = ["First Match", "All Matches", "First Group", "All Groups"]

Job = dict[str, Any]
"""what: match, extract or replace; pattern, flags, text; mode, group for extract; replacement, count for replace."""


def answer(job: Job) -> Any:
    """The result of a job. Raises re.error or IndexError for a wrong pattern or replacement."""
    pattern, text = re.compile(job["pattern"], job["flags"]), job["text"]
    if job["what"] == "match":
        return pattern.search(text) is not None
    if job["what"] == "replace":
        return pattern.sub(job["replacement"], text, count=job["count"])
    return _extract(pattern, text, job["mode"], job["group"])


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


def main() -> None:
    """One job."""
    try:
        made = {"value": answer(json.load(sys.stdin))}
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        made = {"error": str(error)}
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
