"""The shape of a graph that was sent whole: its nodes, links and models, apart from every other value. Pure.

Two graphs that differ in a seed, a prompt or an image have the same shape. So they are one workflow version: machines
that have run one are warm for the other, and measured speeds are of both. The values are the run's inputs, under
`<node id>.<input>`; in the shape a mark stands in each one's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from drivers.wire import FILE_SCHEME, JobFile, WorkflowJson
from orchestrator.runs.requirements import MODEL_ENDINGS, link_source
from orchestrator.wire import InputSpec

MARK: Final = "$value"
ANY_INPUT: Final = "*"
OPEN: Final = InputSpec(
    input_id=ANY_INPUT,
    node_id="",
    class_type="",
    kind="text",
    description="Any value of the graph, by <node id>.<input>",
)
"""The one input of a version that is a shape."""


def split(graph: Mapping[str, Any]) -> tuple[WorkflowJson, dict[str, Any]]:
    """A checked graph's shape, and its values by `<node id>.<input>`."""
    values: dict[str, Any] = {}
    shape: WorkflowJson = {}
    for node_id, node in graph.items():
        fields = {}
        for name, value in node.get("inputs", {}).items():
            if _stays(value):
                fields[name] = value
                continue
            key = f"{node_id}.{name}"
            while key in values:  # node `1.a` with input `b`, and node `1` with input `a.b`
                key += "'"
            fields[name], values[key] = {MARK: key}, value
        shape[node_id] = {**node, "inputs": fields}
    return shape, values


def _stays(value: Any) -> bool:
    """Whether a value says what a machine must have, or what is linked to what."""
    if isinstance(value, str):
        return value.lower().endswith(MODEL_ENDINGS) and "\n" not in value
    return link_source(value) is not None


def hash_of(shape: WorkflowJson) -> bytes:
    """sha256 of a shape, whatever the order of its members."""
    return hashlib.sha256(msgspec.json.encode(shape, order="deterministic")).digest()


def is_shape(graph: Mapping[str, Any]) -> bool:
    """Whether marks stand in this graph."""
    return any(
        _marked(value) is not None
        for node in graph.values()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        for value in node["inputs"].values()
    )


def _marked(value: Any) -> str | None:
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(MARK), str):
        return str(value[MARK])
    return None


def fill(
    shape: WorkflowJson, values: Mapping[str, Any], files: Mapping[str, JobFile]
) -> tuple[WorkflowJson, list[JobFile]]:
    """The graph with the values in place of its marks, and the files it names. Raises KeyError for an unknown file."""
    needed: dict[str, JobFile] = {}

    def laid(value: Any) -> Any:
        if isinstance(value, list):
            return [laid(item) for item in value]
        if isinstance(value, dict) and isinstance(value.get("file_id"), str):
            file = files[value["file_id"]]
            needed[file.key] = file
            return FILE_SCHEME + file.key
        return value

    return _filled(shape, {key: laid(value) for key, value in values.items()}), list(needed.values())


def shown(shape: WorkflowJson, values: Mapping[str, Any]) -> WorkflowJson:
    """The graph as it was sent; a file still stands as `{"file_id": id}`."""
    return _filled(shape, values)


def _filled(shape: WorkflowJson, values: Mapping[str, Any]) -> WorkflowJson:
    graph: WorkflowJson = {}
    for node_id, node in shape.items():
        fields = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(fields, dict):
            graph[node_id] = node
            continue
        placed = {name: _placed(value, values) for name, value in fields.items()}
        graph[node_id] = {**node, "inputs": placed}
    return graph


def _placed(value: Any, values: Mapping[str, Any]) -> Any:
    key = _marked(value)
    return values[key] if key is not None and key in values else value
