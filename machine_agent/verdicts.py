"""Names what went wrong in an executor: its answers and history entries become Failures. Pure."""

from __future__ import annotations

from typing import Any

from drivers.wire import Failure

_TRACEBACK_LINES = 40
_LINE = 500
_MESSAGE = 2000
_MEMORY_TYPES = ("OutOfMemory", "OutOfMemoryError", "MemoryError", "OOM_EXCEPTION")
_MEMORY_TEXTS = ("out of memory", "not enough memory: you tried to allocate")


def refused(body: dict[str, Any]) -> Failure:
    """Validation said no: the first node to blame, and every node's errors in the message."""
    errors = body.get("node_errors")
    nodes = errors if isinstance(errors, dict) else {}
    error = body.get("error")
    top = error if isinstance(error, dict) else {}
    lines = [_joined(top)] if top else []
    for node_id, about in nodes.items():
        texts = "; ".join(_joined(one) for one in about.get("errors", []))
        lines.append(f"node {node_id} ({about.get('class_type', '?')}): {texts}")
    node_id = next(iter(nodes), None) or _blamed(top)
    node_type = nodes[node_id].get("class_type") if node_id in nodes else None
    message = "\n".join(line for line in lines if line) or "the executor refused the workflow"
    return Failure(kind="bad_graph", message=message[:_MESSAGE], node_id=node_id, node_type=node_type)


def raised(data: dict[str, Any]) -> Failure:
    """A node raised: `data` is the executor's execution_error message."""
    exception = str(data.get("exception_type", ""))
    text = str(data.get("exception_message", "")).strip()
    out_of_memory = exception.rpartition(".")[2] in _MEMORY_TYPES or any(part in text.lower() for part in _MEMORY_TEXTS)
    traceback = data.get("traceback")
    lines = [str(line).rstrip("\n")[:_LINE] for line in traceback] if isinstance(traceback, list) else []
    return Failure(
        kind="out_of_memory" if out_of_memory else "node_error",
        message=(f"{exception}: {text}" if exception else text or "a node failed")[:_MESSAGE],
        node_id=_text(data.get("node_id")),
        node_type=_text(data.get("node_type")),
        traceback=lines[-_TRACEBACK_LINES:],
    )


def _joined(error: dict[str, Any]) -> str:
    parts = [str(error.get("message", "")), str(error.get("details", ""))]
    return ": ".join(part for part in parts if part)


def _blamed(error: dict[str, Any]) -> str | None:
    info = error.get("extra_info")
    return _text(info.get("node_id")) if isinstance(info, dict) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
