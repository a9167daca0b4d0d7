"""What packs bring for the browser: scripts, translations, example workflows. It reads files and imports nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from comfy_core.errors import InputRefused
from comfy_core.folders import inside
from comfy_core.packs.requirements import read_pyproject

TEMPLATE_FOLDERS = ("example_workflows", "example", "examples", "workflow", "workflows")
TRANSLATIONS = ("main", "nodeDefs", "commands", "settings")
"""Files of one language; what main.json holds stands at the top, the others each under their name."""


def web_folders(home: Path, name: str, declared: Any) -> dict[str, str]:
    """Name -> folder of scripts: WEB_DIRECTORY under the pack's name, [tool.comfy] web under the project's name."""
    found: dict[str, str] = {}
    folder = _folder(home, declared)
    if folder is not None:
        found[name] = str(folder)
    pyproject = read_pyproject(home)
    comfy, project = _table(_table(pyproject, "tool"), "comfy"), _table(pyproject, "project")
    folder = _folder(home, comfy.get("web"))
    if folder is not None:
        found[str(project.get("name") or name)] = str(folder)
    return found


def _table(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = mapping.get(name)
    return inner if isinstance(inner, dict) else {}


def _folder(home: Path, declared: Any) -> Path | None:
    """The named folder, where it is one. It may be anywhere: the pack's code could serve any file as well."""
    if not isinstance(declared, str) or not declared.strip():
        return None
    path = (home / declared).resolve()
    return path if path.is_dir() else None


def scripts(web: Mapping[str, str]) -> Iterator[str]:
    """The address of each script, /extensions/<name>/<path>.js."""
    for name, folder in web.items():
        root = Path(folder)
        for path in sorted(root.rglob("*.js")):
            yield f"/extensions/{name}/{path.relative_to(root).as_posix()}"


def translations(homes: Iterable[Path]) -> dict[str, Any]:
    """language -> texts, of all packs laid over each other. Files that are no JSON object are passed over."""
    merged: dict[str, Any] = {}
    for home in homes:
        root = home / "locales"
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if folder.is_dir():
                lay_over(merged.setdefault(folder.name, {}), _language(folder))
    return merged


def _language(folder: Path) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    for name in TRANSLATIONS:
        found = _object(folder / f"{name}.json")
        if found:
            lay_over(texts, found if name == "main" else {name: found})
    return texts


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def lay_over(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Merge in place; objects are merged, anything else is replaced."""
    waiting: list[tuple[dict[str, Any], Mapping[str, Any]]] = [(under, over)]
    while waiting:
        below, above = waiting.pop()
        for key, value in above.items():
            present = below.get(key)
            if isinstance(present, dict) and isinstance(value, dict):
                waiting.append((present, value))
            else:
                below[key] = value


def template_folder(home: Path) -> Iterator[Path]:
    """The folders of a pack that hold example workflows."""
    return (home / name for name in TEMPLATE_FOLDERS if (home / name).is_dir())


def templates(homes: Mapping[str, Path]) -> dict[str, list[str]]:
    """pack -> names of its example workflows, without ending; packs without any are left out."""
    found = {
        name: [path.stem for folder in template_folder(home) for path in sorted(folder.glob("*.json"))]
        for name, home in homes.items()
    }
    return {name: names for name, names in found.items() if names}


def template_file(home: Path, name: str) -> Path | None:
    """One example workflow, or a picture beside it. None when there is none of that name."""
    for folder in template_folder(home):
        try:
            path = inside(folder, name)
        except InputRefused:
            return None
        if path.is_file():
            return path
    return None
