"""What the comfyui-deploy plugin posts to /api/update-run, read into facts. Pure; it does not know whose attempt it is.

A body may carry one of: a ComfyUI event (`ws_event`), a status, a live status with progress, outputs, logs. Unknown
members are ignored, since every version of the plugin sends others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from drivers.wire import Timings
from orchestrator.runs.callbacks import LONGEST, Facts, Made, key_of, merge
from orchestrator.runs.comfyui import failure_of, made_by, refusal_of, subfolder_of

LONGEST_S: Final = 1e6
_FILE_ID = re.compile(r"[?&]file=([0-9a-f-]{36})(?:&|$)")


class Callback(Struct, frozen=True):
    """A body, as loosely as the plugin means it. events is ours: a body that has it is an agent's."""

    run_id: str | None = None
    status: Any = None
    output_data: Any = None
    node_meta: Any = None
    ws_event: Any = None
    live_status: Any = None
    progress: Any = None
    cd_token: str | None = None
    events: msgspec.Raw | None = None


def read(callback: Callback) -> Facts:
    """The facts that a body tells; none when it tells nothing that lasts."""
    facts = Facts()
    if isinstance(callback.ws_event, dict):
        facts = merge(facts, _event(callback.ws_event))
    if callback.live_status is not None:
        facts = merge(facts, Facts(began=True))
    if callback.output_data is not None:
        facts = merge(facts, _output(callback.output_data, callback.node_meta))
    if isinstance(callback.status, str):
        facts = merge(facts, _STATUSES.get(callback.status, Facts()))
    return facts


def progress_of(callback: Callback) -> tuple[float, str] | None:
    """How far it is (0 to 1) and what is being done, when the body says so."""
    done, text = callback.progress, callback.live_status
    if not isinstance(done, int | float) or not isinstance(text, str):
        return None
    return min(1.0, max(0.0, float(done))), text[:LONGEST]


_STATUSES: Final[dict[str, Facts]] = {
    "queued": Facts(taken=True),
    "started": Facts(taken=True),
    "running": Facts(began=True),
    "uploading": Facts(began=True),
    "success": Facts(success=True),
    "failed": Facts(failed=True),
    "timeout": Facts(failed=True),
    "cancelled": Facts(interrupted=True),
}


def _event(message: Mapping[str, Any]) -> Facts:
    data = message.get("data")
    reader = _EVENTS.get(str(message.get("event")))
    return reader(data) if reader is not None and isinstance(data, dict) else Facts()


def _executing(data: Mapping[str, Any]) -> Facts:
    return Facts(ended=True) if "node" in data and data["node"] is None else Facts(began=True)


def _executed(data: Mapping[str, Any]) -> Facts:
    ui = data.get("output")
    return made_by(str(data.get("node", "")), ui) if isinstance(ui, dict) else Facts(began=True)


def _error(data: Mapping[str, Any]) -> Facts:
    return Facts(failure=failure_of(data))


_EVENTS: Final[dict[str, Callable[[Mapping[str, Any]], Facts]]] = {
    "execution_start": lambda _: Facts(began=True),
    "execution_cached": lambda _: Facts(began=True),
    "executing": _executing,
    "progress": lambda _: Facts(began=True),
    "progress_state": lambda _: Facts(began=True),
    "executed": _executed,
    "execution_success": lambda _: Facts(success=True),
    "execution_error": _error,
    "execution_interrupted": lambda _: Facts(interrupted=True),
}


def _output(data: Any, meta: Any) -> Facts:
    """Outputs of a node, a failure, or (a list) how long nodes took, which is told once the graph has ended."""
    if isinstance(data, list):
        return Facts(ended=True, timings=_timings(data))
    if not isinstance(data, dict):
        return Facts()
    if "exception_message" in data:
        return Facts(failure=failure_of(data))
    refusal = data.get("error")
    if isinstance(refusal, dict):
        # with node_errors alone a part of the graph was refused, and the rest is being executed
        hopeless = "error" in refusal or "error_type" in refusal
        return Facts(failure=refusal_of(refusal)) if hopeless else Facts(taken=True)
    node_id = str(meta.get("node_id", "")) if isinstance(meta, dict) else ""
    return merge(made_by(node_id, data, sure=False), _claims(node_id, data))


def _timings(nodes: list[Any]) -> Timings | None:
    """How long the nodes took together, and the most memory of a GPU that one held."""
    seconds, bytes_held = 0.0, 0
    for node in nodes:
        took, held = (node.get("time"), node.get("vram_used")) if isinstance(node, dict) else (None, None)
        seconds += took if isinstance(took, int | float) and 0 <= took < LONGEST_S else 0.0
        bytes_held = max(bytes_held, held if isinstance(held, int) and 0 <= held < 2**53 else 0)
    return Timings(execute_ms=seconds * 1000, peak_vram_bytes=bytes_held) if nodes else None


def _claims(node_id: str, data: Mapping[str, Any]) -> Facts:
    """Which of our files each item is, by the address that we gave for it."""
    claimed: dict[str, str] = {}
    for kind, items in data.items():
        for item in items if isinstance(items, list) else []:
            url = item.get("url") if isinstance(item, dict) else None
            found = _FILE_ID.search(url) if isinstance(url, str) else None
            if found and isinstance(item.get("filename"), str):
                made = Made(node_id[:LONGEST], kind, item["filename"][:LONGEST], subfolder_of(item))
                claimed[key_of(made)] = found.group(1)
    return Facts(claimed=claimed)
