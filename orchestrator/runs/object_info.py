"""What several executors answer to /object_info, as one answer: the union of their classes and of the models they list.

Pure. A class is described as the first machine that has it does; `availability` says which machines have it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

LARGEST: Final = 64 * 1024 * 1024
UPLOADS: Final = ("image_upload", "animated_image_upload", "video_upload", "audio_upload", "file_upload")
PLACES: Final = ("required", "optional")
Info = dict[str, Any]


def unpacked(name: str, body: str) -> bytes | None:
    """The zlib-compressed answer out of an agent's frame, or None when it is not what its hash says."""
    try:
        packed = base64.b64decode(body, validate=True)
        reader = zlib.decompressobj()
        text = reader.decompress(packed, LARGEST)
        whole = reader.eof and isinstance(msgspec.json.decode(text), dict)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        return None
    return packed if whole and hashlib.sha256(text).hexdigest() == name else None


class Answer(Struct, frozen=True):
    """What one executor answers, and the machines that answer so."""

    classes: Info
    machines: list[str]


def read(body: bytes, machines: list[str]) -> Answer:
    """An answer as it is kept."""
    return Answer(msgspec.json.decode(zlib.decompress(body), type=Info), machines)


def union(answers: Sequence[Answer]) -> Info:
    """Every class that any machine has, with what each of them offers to choose from."""
    total = sum(len(answer.machines) for answer in answers)
    merged: Info = {}
    having: dict[str, list[str]] = {}
    for answer in answers:
        for name, info in answer.classes.items():
            having.setdefault(name, []).extend(answer.machines)
            merged[name] = info if name not in merged else _merged(merged[name], info)
    return {
        name: {**info, "availability": {"machines": having[name], "of": total}} if isinstance(info, dict) else info
        for name, info in merged.items()
    }


def _merged(first: Any, second: Any) -> Any:
    """The first description, whose lists to choose from have the second's entries too."""
    inputs, others = _groups(first), _groups(second)
    if inputs is None or others is None or inputs == others:
        return first
    grown = dict(inputs)
    for place in PLACES:
        if isinstance(inputs.get(place), dict) and isinstance(others.get(place), dict):
            grown[place] = {name: _grown(declared, others[place].get(name)) for name, declared in inputs[place].items()}
    return {**first, "input": grown}


def _groups(info: Any) -> dict[str, Any] | None:
    groups = info.get("input") if isinstance(info, dict) else None
    return groups if isinstance(groups, dict) else None


def _grown(declared: Any, other: Any) -> Any:
    mine, theirs = choices(declared), choices(other)
    if mine is None or theirs is None or mine == theirs:
        return declared
    return _with_choices(declared, [*mine, *(choice for choice in theirs if choice not in mine)])


def choices(declared: Any) -> list[Any] | None:
    """What an input lets choose from; None: it is no choice. Both ways of declaring one are known."""
    if not isinstance(declared, list) or not declared:
        return None
    if isinstance(declared[0], list):
        return declared[0]
    options = declared[1] if len(declared) > 1 and isinstance(declared[1], dict) else {}
    found = options.get("options") if declared[0] == "COMBO" else None
    return found if isinstance(found, list) else None


def _with_choices(declared: list[Any], found: list[Any]) -> list[Any]:
    if isinstance(declared[0], list):
        return [found, *declared[1:]]
    return [declared[0], {**declared[1], "options": found}, *declared[2:]]


def with_uploads(info: Info, names: Sequence[str]) -> Info:
    """The answer for somebody who uploaded these files: they stand where a file may be uploaded."""
    return {name: _with_uploads(one, names) for name, one in info.items()}


def _with_uploads(info: Any, names: Sequence[str]) -> Any:
    groups = _groups(info)
    if groups is None:
        return info
    changed = {
        place: {name: _uploadable(declared, names) for name, declared in groups[place].items()}
        for place in PLACES
        if isinstance(groups.get(place), dict) and any(_is_upload(declared) for declared in groups[place].values())
    }
    return {**info, "input": {**groups, **changed}} if changed else info


def _is_upload(declared: Any) -> bool:
    if not isinstance(declared, list) or len(declared) < 2 or not isinstance(declared[1], dict):
        return False
    return any(declared[1].get(upload) for upload in UPLOADS)


def _uploadable(declared: Any, names: Sequence[str]) -> Any:
    if not _is_upload(declared) or choices(declared) is None:
        return declared
    return _with_choices(declared, list(names))


def why_refused(graph: Mapping[str, Any], info: Info) -> tuple[str, str, str] | None:
    """(type, message, details) as ComfyUI refuses a graph that it cannot begin; None: it can, or info is empty."""
    for node_id, node in graph.items():
        class_type = node.get("class_type") if isinstance(node, dict) else None
        if not isinstance(class_type, str):
            return "invalid_prompt", "Cannot execute because a node has no class_type.", f"Node ID '#{node_id}'"
        if info and class_type not in info:
            message = f"Cannot execute because node {class_type} does not exist."
            return "invalid_prompt", message, f"Node ID '#{node_id}'"
    if info and not any(info[node["class_type"]].get("output_node") for node in graph.values()):
        return "prompt_no_outputs", "Prompt has no outputs", ""
    return None


def only(graph: Mapping[str, Any], targets: Sequence[str], info: Info) -> dict[str, Any]:
    """The graph without output nodes that are not targets."""
    wanted = set(targets)
    return {
        node_id: node
        for node_id, node in graph.items()
        if node_id in wanted or not info.get(str(node.get("class_type")), {}).get("output_node")
    }
