"""Which model files a prompt is going to load, told from its nodes' declarations. It loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comfy_core.errors import InputRefused
from comfy_core.folders import Folders

NOTHING: Mapping[str, str] = {}


def models_of(prompt: Mapping[str, Any], classes: Mapping[str, type], folders: Folders) -> Iterator[Path]:
    """The files that nodes with MODEL_FILES name as constants; a name that no folder has is left out."""
    declared: dict[str, Mapping[str, str]] = {}
    for node in prompt.values():
        class_type = node["class_type"]
        if class_type not in declared:
            declared[class_type] = getattr(classes.get(class_type), "MODEL_FILES", NOTHING)
        for name, kind in declared[class_type].items():
            value = node.get("inputs", {}).get(name)
            if isinstance(value, str):
                yield from _found(folders, kind, value)


def _found(folders: Folders, kind: str, name: str) -> Iterator[Path]:
    try:
        yield folders.find_model(kind, name)
    except (InputRefused, KeyError, OSError):
        return
