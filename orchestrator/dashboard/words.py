"""How the dashboard says things: labels, tones, spans of time, sizes. Pure; the templates' filters.

It knows neither the database nor HTTP. A tone is a style sheet's class name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from orchestrator.runs.state import HELD, TERMINAL
from orchestrator.store.overview import MachineRow

LABELS: Final = {
    "not-started": "waiting",
    "success": "succeeded",
    "timeout": "timed out",
    "bad_graph": "The workflow was refused",
    "node_error": "A node failed",
    "out_of_memory": "Out of memory",
    "executor_crashed": "The executor crashed",
    "agent_restarted": "The agent was restarted",
    "input_unavailable": "An input could not be fetched",
    "upload_failed": "An upload failed",
    "machine_lost": "The machine was lost",
    "not_claimed": "The machine did not take it",
    "rejected": "The machine refused it",
    "timed_out": "Timed out",
    "internal": "Internal error",
}
TONES: Final = {
    "success": "good",
    "delivered": "good",
    "failed": "bad",
    "timeout": "bad",
    "lost": "bad",
    "dead": "bad",
    "rejected": "warn",
    "queued": "busy",
    "started": "busy",
    "running": "busy",
    "uploading": "busy",
    "placed": "busy",
    "claimed": "busy",
    "cancelled": "idle",
}


def label(word: str) -> str:
    """A status or failure class in plain words."""
    return LABELS.get(word, word.replace("_", " "))


def tone(word: str) -> str:
    """The class that colours a status: good, bad, warn, busy or idle."""
    return TONES.get(word, "idle")


def is_active(status: str) -> bool:
    """Whether a machine holds the run now."""
    return status in HELD


def is_open(status: str) -> bool:
    """Whether the run has yet to end."""
    return status not in TERMINAL


def short(run_id: str) -> str:
    """The end of an id, which differs from run to run (a UUIDv7 begins with the time)."""
    return run_id[-8:]


def iso(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: datetime) -> str:
    """The time of day in UTC; the browser puts the reader's own in its place."""
    return at.astimezone(UTC).strftime("%H:%M:%S UTC")


def age(at: datetime, now: datetime | None = None) -> str:
    """How long ago, roughly."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if seconds < 3:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def span(length: timedelta) -> str:
    """A duration with the precision a reader wants: 340 ms, 4.2 s, 3 min 10 s, 2 h 5 min."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def milliseconds(value: float) -> str:
    """A duration given in milliseconds."""
    return span(timedelta(milliseconds=value))


def size(count: int) -> str:
    """Bytes as B, kB, MB or GB (powers of ten)."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def pretty(value: Any) -> str:
    """An output's value: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def gpu(machine: MachineRow) -> str:
    """What a machine computes with, in a few words."""
    gpus = [each for each in machine.inventory.get("gpus") or [] if each.get("kind") != "cpu"]
    if gpus:
        first = gpus[0]
        count = f"{len(gpus)} × " if len(gpus) > 1 else ""
        vram = first.get("vram") or 0
        memory = f", {vram / 2**30:.0f} GiB" if vram else ""
        return f"{count}{first.get('name', 'GPU')}{memory}"
    cores = machine.inventory.get("cpus") or 0
    return f"CPU, {cores} core{'s' if cores > 1 else ''}" if cores else ""


def light(machine: MachineRow) -> str:
    """The tone of a machine's light."""
    if machine.state == "pending":
        return "idle"
    if not machine.connected:
        return "bad"
    return "bad" if machine.state == "quarantined" else "warn" if machine.state == "draining" else "ready"


def light_word(machine: MachineRow) -> str:
    """A machine's state in a word or two."""
    if machine.state == "pending":
        return "waits for its agent"
    if not machine.connected:
        return f"offline, {machine.state}" if machine.state in ("draining", "quarantined") else "offline"
    return machine.state


def shown_inputs(inputs: dict[str, Any]) -> list[dict[str, str]]:
    """A run's inputs for reading: name and text, and the file's id where the input is a stored file."""
    shown = []
    for name, value in inputs.items():
        file_id = value.get("file_id", "") if isinstance(value, dict) else ""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        shown.append({"name": name, "text": text[:500], "file_id": str(file_id)})
    return shown


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "label": label,
    "tone": tone,
    "active": is_active,
    "open": is_open,
    "short": short,
    "iso": iso,
    "clock": clock,
    "age": age,
    "span": span,
    "ms": milliseconds,
    "size": size,
    "pretty": pretty,
    "gpu": gpu,
    "light": light,
    "light_word": light_word,
}
