"""ComfyUI's own accounts of a prompt (what a node made, an error, a refusal, its history), read as facts. Pure.

Only what it says is known here; who said it to whom, and what follows, is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drivers.wire import Failure
from orchestrator.runs.callbacks import LONGEST, Facts, Made, key_of, merge

MOST_TRACEBACK: Final = 200
NAMES_OF_FILES: Final = frozenset({"model_file", "result"})
"""Keys of a node's output under which a bare text is a file's name."""


def made_by(node_id: str, ui: Mapping[str, Any], *, sure: bool = True) -> Facts:
    """What a node's output (ComfyUI's `ui` part of it) tells: files, and values. Previews and inputs are left out."""
    node_id = node_id[:LONGEST]
    files: dict[str, Made] = {}
    values: dict[str, tuple[str, str, Any]] = {}
    has_files = any(_file(kind, item) for kind, items in ui.items() for item in _listed(items))
    for kind, items in ui.items():
        kind = kind[:LONGEST]
        found = [(place, file) for place, item in enumerate(_listed(items)) if (file := _file(kind, item))]
        for place, file in found:
            if file.get("type", "output") == "output":
                made = Made(node_id, kind, file["filename"][:LONGEST], subfolder_of(file), place, sure)
                files[key_of(made)] = made
        if not found and items != [] and not (kind == "animated" and has_files):
            values[f"{node_id}\n{kind}"] = (node_id, kind, items)
    return Facts(began=True, files=files, values=values)


def subfolder_of(file: Mapping[str, Any]) -> str:
    """The folder under the outputs that a file of ComfyUI's names."""
    return _text(file.get("subfolder"))[:LONGEST]


def _listed(items: Any) -> list[Any]:
    return items if isinstance(items, list) else []


def _file(kind: str, item: Any) -> dict[str, Any] | None:
    if isinstance(item, str) and kind in NAMES_OF_FILES and item:
        return {"filename": item}
    return item if isinstance(item, dict) and isinstance(item.get("filename"), str) and item["filename"] else None


def failure_of(data: Mapping[str, Any]) -> Failure:
    """A node that raised. What went into the node is left out: it may be secret, and large."""
    lines = data.get("traceback")
    text = _text(data.get("exception_message")).strip() or "a node raised an error"
    kind = _text(data.get("exception_type"))
    memory = "outofmemory" in kind.replace("_", "").lower()
    return Failure(
        "out_of_memory" if memory else "node_error",
        f"{kind}: {text}" if kind else text,
        _text(data.get("node_id")) or None,
        _text(data.get("node_type")) or None,
        [_text(line) for line in lines[-MOST_TRACEBACK:]] if isinstance(lines, list) else [],
    )


def refusal_of(answer: Mapping[str, Any]) -> Failure:
    """Why the graph was not taken: `{error, node_errors}`, or the plugin's own `{error_type, stack_trace}`."""
    if "error_type" in answer:
        trace = _text(answer.get("stack_trace"))
        return Failure(
            "internal", f"the plugin failed: {_text(answer['error_type'])}", traceback=trace.splitlines()[-50:]
        )
    error = answer.get("error")
    message = _text(error.get("message")) if isinstance(error, dict) else _text(error)
    for node_id, found in objects(answer.get("node_errors")):
        for one in _listed(found.get("errors")):
            if isinstance(one, dict):
                told = ": ".join(part for part in (_text(one.get("message")), _text(one.get("details"))) if part)
                return Failure("bad_graph", told or message, node_id[:LONGEST], _text(found.get("class_type")) or None)
    return Failure("bad_graph", message or "the graph was refused")


def from_history(entry: Mapping[str, Any]) -> Facts:
    """A prompt's entry in ComfyUI's history: it has ended, this way, and made these things and no others."""
    facts = Facts(began=True, ended=True, whole=True)
    for node_id, ui in objects(entry.get("outputs")):
        facts = merge(facts, made_by(node_id, ui))
    status = entry.get("status")
    if not isinstance(status, dict):
        return facts
    for message in _listed(status.get("messages")):
        if isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict):
            facts = merge(facts, _message(str(message[0]), message[1]))
    if status.get("status_str") == "success":
        facts = merge(facts, Facts(success=True))
    elif status.get("status_str") == "error" and not facts.interrupted:
        facts = merge(facts, Facts(failed=True))
    return facts


def _message(name: str, data: Mapping[str, Any]) -> Facts:
    if name == "execution_error":
        return Facts(failure=failure_of(data))
    return Facts(interrupted=True) if name == "execution_interrupted" else Facts()


def objects(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """The members of an object that are objects themselves."""
    return [(str(key), one) for key, one in value.items() if isinstance(one, dict)] if isinstance(value, dict) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:4000]
