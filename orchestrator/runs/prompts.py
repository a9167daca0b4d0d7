"""A run in a ComfyUI server's words: its messages to a client, its entry in the history, its place in the queue. Pure.

A prompt's id is the run's. Files of a prompt are named by the run: `subfolder` is the run's id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from orchestrator.runs.state import TERMINAL, Status
from orchestrator.wire import ProgressEvent

Message = tuple[str, dict[str, Any]]
Ui = dict[str, dict[str, list[Any]]]
"""node id -> kind -> what the node made."""

PREVIEW: Final = "PreviewImage"
SAVED_PREVIEW: Final = "preview/ComfyUI"
FILE_ENDING: Final = 12


class Told(Struct):
    """What a client was told of a prompt so far."""

    begun: bool = False
    ended: bool = False
    node_id: str | None = None
    done: set[str] = set()
    made: dict[str, dict[str, list[Any]]] = {}


def saved_previews(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The graph whose previews are saved: what stays on a machine only could not be looked at."""
    return {
        node_id: {
            **node,
            "class_type": "SaveImage",
            "inputs": {**node.get("inputs", {}), "filename_prefix": SAVED_PREVIEW},
        }
        if node.get("class_type") == PREVIEW
        else node
        for node_id, node in graph.items()
    }


def as_sent(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The graph as its client sent it: the other way round."""
    return {
        node_id: {
            **node,
            "class_type": PREVIEW,
            "inputs": {name: value for name, value in node["inputs"].items() if name != "filename_prefix"},
        }
        if node.get("inputs", {}).get("filename_prefix") == SAVED_PREVIEW
        else node
        for node_id, node in graph.items()
    }


def file_names(graph: Mapping[str, Any]) -> set[str]:
    """Every text in the graph that may name a file: one with a short ending, and no line break."""
    return {
        value
        for node in graph.values()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        for value in node["inputs"].values()
        if isinstance(value, str) and 2 < len(value) <= 400 and "\n" not in value and _has_ending(value)
    }


def _has_ending(name: str) -> bool:
    stem, dot, ending = annotated(name)[0].rpartition(".")
    return bool(stem and dot) and 0 < len(ending) <= FILE_ENDING and ending.isalnum()


def annotated(name: str) -> tuple[str, str | None]:
    """A file's path and the folder that it names: `a.png [output]`; None: it names none."""
    for folder in ("input", "output", "temp"):
        if name.endswith(f" [{folder}]"):
            return name.removesuffix(f" [{folder}]"), folder
    return name, None


def with_files(graph: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, Any]:
    """The graph with `{"file_id": id}` in place of the names that were found."""

    def laid(value: Any) -> Any:
        return {"file_id": found[value]} if isinstance(value, str) and value in found else value

    return {
        node_id: {**node, "inputs": {name: laid(value) for name, value in node["inputs"].items()}}
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        else node
        for node_id, node in graph.items()
    }


def ui_of(run_id: str, made: Iterable[tuple[str, str, str | None, Any]]) -> Ui:
    """What a run made, of (node id, kind, file name, value), as its nodes would have told it."""
    ui: Ui = {}
    for node_id, kind, name, data in made:
        items = ui.setdefault(node_id, {}).setdefault(kind, [])
        if name is not None:
            items.append({"filename": name, "subfolder": run_id, "type": "output"})
        elif isinstance(data, list):
            items.extend(data)
        else:
            items.append(data)
    return ui


def milliseconds(at: datetime) -> int:
    """A time as these messages have it."""
    return int(at.timestamp() * 1000)


def on_status(
    run_id: str, status: Status, at: datetime, told: Told, failure: Mapping[str, Any] | None, ui: Ui
) -> Iterator[Message]:
    """The messages that a change of status brings. ui and failure are of a run that has ended."""
    if told.ended:
        return
    if status == "not-started":  # it waits, perhaps for another attempt, which begins with nothing
        told.node_id, told.done, told.made = None, set(), {}
    if status in ("running", "uploading", "success"):
        yield from _start(run_id, at, told)
    if status not in TERMINAL:
        return
    told.ended = True
    for node_id, output in ui.items():
        if told.made.get(node_id) != output:
            yield _executed(run_id, node_id, output)
    yield ending(run_id, status, at, failure, sorted(told.done))
    yield "executing", {"node": None, "prompt_id": run_id}


def _executed(run_id: str, node_id: str, output: dict[str, list[Any]]) -> Message:
    return "executed", {"node": node_id, "display_node": node_id, "output": output, "prompt_id": run_id}


def on_node(run_id: str, node_id: str, output: dict[str, list[Any]], at: datetime, told: Told) -> Iterator[Message]:
    """The messages that the end of a node brings, which may be here before any progress."""
    if told.ended:
        return
    yield from _start(run_id, at, told)
    yield from _enter(run_id, node_id, told)
    told.made = {**told.made, node_id: output}
    told.done = told.done | {node_id}
    yield _executed(run_id, node_id, output)
    states = {done: _state(run_id, done, 1, 1, "finished") for done in sorted(told.done)}
    yield "progress_state", {"prompt_id": run_id, "nodes": states}


def _enter(run_id: str, node_id: str, told: Told) -> Iterator[Message]:
    """Say that a node is at work, unless it was said last."""
    if node_id == told.node_id:
        return
    if told.node_id is not None:
        told.done = told.done | {told.node_id}
    told.node_id = node_id
    yield "executing", {"node": node_id, "display_node": node_id, "prompt_id": run_id}


def _start(run_id: str, at: datetime, told: Told) -> Iterator[Message]:
    if not told.begun:
        told.begun = True
        yield "execution_start", {"prompt_id": run_id, "timestamp": milliseconds(at)}
        yield "execution_cached", {"nodes": [], "prompt_id": run_id, "timestamp": milliseconds(at)}


def ending(
    run_id: str, status: str, at: datetime, failure: Mapping[str, Any] | None, executed: Sequence[str]
) -> Message:
    """The message that says how a prompt ended."""
    base = {"prompt_id": run_id, "timestamp": milliseconds(at)}
    if status == "success":
        return "execution_success", base
    failure = failure or {}
    node = {"node_id": failure.get("node_id") or "", "node_type": failure.get("node_type") or ""}
    if status == "cancelled":
        return "execution_interrupted", {**base, **node, "executed": list(executed)}
    message = str(failure.get("message") or "the run took too long")
    return "execution_error", {
        **base,
        **node,
        "executed": list(executed),
        "exception_message": message,
        "exception_type": str(failure.get("kind") or status),
        "traceback": list(failure.get("traceback") or []),
        "current_inputs": {},
        "current_outputs": [],
    }


def on_progress(event: ProgressEvent, at: datetime, told: Told) -> Iterator[Message]:
    """The messages that live progress brings; it may be here before the word that the run has begun."""
    if told.ended or event.node_id is None:
        return
    yield from _start(event.run_id, at, told)
    run_id, node_id = event.run_id, event.node_id
    if node_id in told.made:  # it has ended: this was under way
        return
    yield from _enter(run_id, node_id, told)
    value, most = (event.step or 0, event.steps or 1) if event.steps else (0, 1)
    if event.steps:
        yield "progress", {"value": value, "max": most, "prompt_id": run_id, "node": node_id}
    states = {done: _state(run_id, done, 1, 1, "finished") for done in sorted(told.done - {node_id})}
    states[node_id] = _state(run_id, node_id, value, most, "running")
    yield "progress_state", {"prompt_id": run_id, "nodes": states}


def _state(run_id: str, node_id: str, value: int, most: int, state: str) -> dict[str, Any]:
    return {
        "value": value,
        "max": most,
        "state": state,
        "node_id": node_id,
        "prompt_id": run_id,
        "display_node_id": node_id,
        "parent_node_id": None,
        "real_node_id": node_id,
    }


def history_entry(item: list[Any], ui: Ui, status: str, messages: list[Message]) -> dict[str, Any]:
    """A prompt that has ended, as the history shows it. item: as in the queue."""
    good = status == "success"
    return {
        "prompt": item,
        "outputs": ui,
        "meta": {
            node_id: {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            for node_id in ui
        },
        "status": {
            "status_str": "success" if good else "error",
            "completed": good,
            "messages": [[name, data] for name, data in messages],
        },
    }


def preview_frame(node_id: str, run_id: str, content_type: str, image: bytes, *, with_metadata: bool) -> bytes:
    """A picture of what is being made, as the socket sends it; with metadata to clients that said they take it."""
    if not with_metadata:
        return (1).to_bytes(4, "big") + (2 if content_type == "image/png" else 1).to_bytes(4, "big") + image
    about = msgspec.json.encode(
        {
            "node_id": node_id,
            "prompt_id": run_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
            "image_type": content_type,
        }
    )
    return (4).to_bytes(4, "big") + len(about).to_bytes(4, "big") + about + image
