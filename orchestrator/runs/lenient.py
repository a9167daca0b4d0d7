"""Inputs as ComfyDeploy's clients send them, made to fit a version's inputs. Pure.

Numbers come as text, booleans as words, lists as JSON text, files by addresses of ours; what the version does not take
is left out, as ComfyDeploy does. What still does not fit is left as it is: the check of every run names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.wire import InputSpec

_UUID = r"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"
_OURS = re.compile(rf"(?:/api/view\?file=|/files/){_UUID}(?:[/?&].*)?")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
WORDS: Final = {"true": True, "false": False}


def fitted(inputs: Mapping[str, Any], specs: Sequence[InputSpec], base_url: str) -> dict[str, Any]:
    """The values that the version takes, each as its input wants it."""
    by_id = {spec.input_id: spec for spec in specs}
    return {
        key: _fit(value, by_id[key].kind, base_url)
        for key, value in inputs.items()
        if key in by_id and value is not None
    }


def addressed(value: Any, base_url: str) -> Any:
    """A value in which addresses of our own files are the files themselves."""
    if isinstance(value, list):
        return [addressed(item, base_url) for item in value]
    if isinstance(value, str) and value.startswith(f"{base_url}/"):
        found = _OURS.fullmatch(value[len(base_url) :])
        if found:
            return {"file_id": found.group(1).lower()}
    return value


def _fit(value: Any, kind: str, base_url: str) -> Any:
    if kind in ("number", "integer", "seed"):
        return _number(value)
    if kind == "boolean":
        return WORDS.get(value.lower(), value) if isinstance(value, str) else value
    if kind in ("text", "enum"):
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if kind == "images":
        value = _listed(value)
    return addressed(value, base_url)


def _number(value: Any) -> Any:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()) or len(value) > 40:
        return value
    number = float(value)
    return int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value) else number


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    return read if isinstance(read, list) else [value]
