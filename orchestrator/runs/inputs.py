"""Laying a run's inputs into a workflow version's graph. Pure: the graph given is never changed.

The rule is ComfyDeploy's: a value goes to every node whose input `input_id` equals its key, into `input_id` and, for
some classes, into one more field (contracts: external input nodes). Files become `fleet-file:<key>`, which the agent
replaces by a local file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from drivers.wire import FILE_SCHEME, JobFile, WorkflowJson
from orchestrator.errors import FieldError
from orchestrator.runs import shapes
from orchestrator.wire import InputSpec

PREFIX: Final = "ComfyUIDeployExternal"

# Where a class reads its value from, besides input_id.
FIELD: Final[dict[str, str]] = {
    "Text": "default_value",
    "TextAny": "default_value",
    "TextSingleLine": "default_value",
    "ImageBatch": "images",
    "Boolean": "default_value",
    "Enum": "default_value",
    "Seed": "default_value",
    "Checkpoint": "default_value",
    "Lora": "lora_url",
    "FaceModel": "face_model_url",
    "Audio": "audio_file",
    "EXR": "exr_file",
    "File": "file_url",
}
FILE_KINDS: Final = frozenset({"image", "images", "file"})
MAX_TEXT: Final = 1_000_000
_URL = re.compile(r"^https?://", re.IGNORECASE)
_DATA_URL = re.compile(r"^data:image/(png|jpeg|jpg|webp);base64,", re.IGNORECASE)


def file_ids(inputs: Mapping[str, Any]) -> list[str]:
    """Ids of the files that `{"file_id": id}` values name, in order, each once."""
    found: dict[str, None] = {}
    for value in inputs.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and isinstance(item.get("file_id"), str):
                found[item["file_id"]] = None
    return list(found)


def check(inputs: Mapping[str, Any], specs: Sequence[InputSpec]) -> list[FieldError]:
    """Every way in which the inputs do not fit the version, each naming the input. Empty: they fit."""
    by_id = {spec.input_id: spec for spec in specs}
    errors: list[FieldError] = []
    if shapes.ANY_INPUT in by_id:
        return errors
    for key, value in inputs.items():
        spec = by_id.get(key)
        if spec is None:
            known = ", ".join(sorted(by_id)) or "none"
            message = f"the version has no input of this name; it has: {known}"
            errors.append(FieldError(f"inputs.{key}", message, "unknown_input"))
            continue
        message_or_none = _CHECKS[spec.kind](value, spec)
        if message_or_none is not None:
            errors.append(FieldError(f"inputs.{key}", message_or_none, "wrong_input"))
    return errors


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_number(value: Any, spec: InputSpec) -> str | None:
    if not _is_number(value):
        return "must be a number"
    if spec.minimum is not None and value < spec.minimum:
        return f"must be at least {spec.minimum:g}"
    if spec.maximum is not None and value > spec.maximum:
        return f"must be at most {spec.maximum:g}"
    return None


def _check_integer(value: Any, spec: InputSpec) -> str | None:
    if not _is_number(value) or int(value) != value:
        return "must be a whole number"
    return _check_number(value, spec)


def _check_text(value: Any, _spec: InputSpec) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    return None if len(value) <= MAX_TEXT else f"must be at most {MAX_TEXT} characters"


def _check_boolean(value: Any, _spec: InputSpec) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _check_enum(value: Any, spec: InputSpec) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if spec.options and value not in spec.options:
        return f"must be one of {', '.join(spec.options)}"
    return None


def _check_file(value: Any, _spec: InputSpec) -> str | None:
    if isinstance(value, dict) and set(value) == {"file_id"} and isinstance(value["file_id"], str):
        return None
    if isinstance(value, str) and (_URL.match(value) or _DATA_URL.match(value)):
        return None
    return 'must be {"file_id": id} of an uploaded file, an http(s) URL or a data:image URL'


def _check_files(value: Any, spec: InputSpec) -> str | None:
    if not isinstance(value, list):
        return "must be a list of files"
    return next((message for item in value if (message := _check_file(item, spec))), None)


def _check_loose(value: Any, _spec: InputSpec) -> str | None:
    """A file input also takes a plain name (a LoRA the machine already has)."""
    if isinstance(value, str) and value:
        return None
    return _check_file(value, _spec)


_CHECKS: Final = {
    "text": _check_text,
    "number": _check_number,
    "integer": _check_integer,
    "seed": _check_integer,
    "boolean": _check_boolean,
    "enum": _check_enum,
    "image": _check_file,
    "images": _check_files,
    "file": _check_loose,
}


def lay(
    graph: WorkflowJson, inputs: Mapping[str, Any], files: Mapping[str, JobFile]
) -> tuple[WorkflowJson, list[JobFile]]:
    """The graph with the inputs in place, and the files the agent must fetch for it.

    files: what is known of each `file_id`, by id. A URL becomes a file of its own, keyed by its input; data: URLs stay.
    """
    if not inputs:
        return graph, []
    if shapes.is_shape(graph):
        return shapes.fill(graph, inputs, files)
    needed: dict[str, JobFile] = {}
    values = {key: _value(key, value, files, needed) for key, value in inputs.items()}
    return place(graph, values), list(needed.values())


def place(graph: WorkflowJson, values: Mapping[str, Any]) -> WorkflowJson:
    """The graph with these values at the nodes that take them, as they are."""
    return {node_id: _laid(node, values) for node_id, node in graph.items()}


def _value(key: str, value: Any, files: Mapping[str, JobFile], needed: dict[str, JobFile]) -> Any:
    if isinstance(value, list):
        return [_value(f"{key}.{place}", item, files, needed) for place, item in enumerate(value)]
    if isinstance(value, dict) and isinstance(value.get("file_id"), str):
        file = files[value["file_id"]]
        needed[file.key] = file
        return FILE_SCHEME + file.key
    if isinstance(value, str) and _URL.match(value):
        name = value.split("?", 1)[0].rsplit("/", 1)[-1] or "input"
        needed[key] = JobFile(key=key, url=value, name=name[:200])
        return FILE_SCHEME + key
    return value


def _laid(node: Any, values: Mapping[str, Any]) -> Any:
    fields = node.get("inputs") if isinstance(node, dict) else None
    if not isinstance(fields, dict):
        return node
    key = fields.get("input_id")
    if not isinstance(key, str) or key not in values:
        return node
    value = values[key]
    if isinstance(value, list):  # the node reads a JSON text; a bare list would be taken for a link
        value = json.dumps(value)
    changed = {**fields, "input_id": value}
    extra = FIELD.get(str(node.get("class_type", "")).removeprefix(PREFIX))
    if extra is not None:
        changed[extra] = value
    return {**node, "inputs": changed}
