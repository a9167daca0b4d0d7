"""What a pack says it needs, checked against what is installed. It installs nothing and refuses nothing.

Read are requirements.txt, with the files it includes, and the dependencies of pyproject.toml. Lines that are neither
(index addresses, paths) are passed over.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

from comfy_core.errors import InputRefused
from comfy_core.folders import inside

EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
SAME_MODULE = (
    frozenset(
        {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"},
    ),
    frozenset({"onnxruntime", "onnxruntime-gpu"}),
)
"""Distributions that provide the same module: any of them will do."""


def missing(home: Path) -> list[str]:
    """What the pack needs and is not installed, or not in a version it takes, each as it says it."""
    lines = [*_lines(home, "requirements.txt", set()), *_of_pyproject(home)]
    found = [_missing(line) for line in lines]
    return list(dict.fromkeys(line for line in found if line is not None))


def read_pyproject(home: Path) -> dict[str, Any]:
    """The pack's pyproject.toml; empty when there is none that can be read."""
    try:
        return tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _of_pyproject(home: Path) -> list[str]:
    project = read_pyproject(home).get("project")
    named = project.get("dependencies") if isinstance(project, dict) else None
    return [line for line in named if isinstance(line, str)] if isinstance(named, list) else []


def _lines(home: Path, name: str, seen: set[Path]) -> Iterator[str]:
    try:
        path = inside(home, name)
        text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\\\n", " ")
    except (OSError, InputRefused):
        return
    if path in seen:
        return
    seen.add(path)
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line.startswith(("-r ", "--requirement ")):
            yield from _lines(home, line.split(maxsplit=1)[1], seen)
        elif line:
            yield line


def _missing(line: str) -> str | None:
    if "://" in line and " @ " not in line:
        egg = EGG.search(line)
        return _missing(egg[1]) if egg else None
    try:
        needed = Requirement(re.sub(r"\s--hash=\S+", "", line))
    except InvalidRequirement:
        return None
    if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
        return None
    have = _installed(needed.name)
    if have is None:
        return str(needed)
    return None if _fits(needed, have) else f"{needed} ({have} is installed)"


def _fits(needed: Requirement, have: str) -> bool:
    try:
        return needed.specifier.contains(have, prereleases=True)
    except InvalidVersion:
        return True  # nothing can be said about a version that is none


def _installed(name: str) -> str | None:
    plain = re.sub(r"[-_.]+", "-", name).lower()
    alike = next((names for names in SAME_MODULE if plain in names), frozenset({plain}))
    for one in (plain, *sorted(alike - {plain})):
        try:
            return version(one)
        except PackageNotFoundError:
            continue
    return None
