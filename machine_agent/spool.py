"""Events on disk until acknowledged: one append-only file per attempt, so that no crash loses a report.

A file lives from the claim until the last event is acknowledged, so it also says which attempts were held
when the agent was killed. It does not know how events are sent.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct, field

from drivers.wire import AttemptId, Event, Failure

TERMINAL = frozenset({"success", "failed", "cancelled", "timeout"})
_SAFE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_log = structlog.get_logger()


class _Line(Struct, omit_defaults=True):
    event: Event | None = None
    ack: int | None = None


class _Entry(Struct):
    last: Event
    waiting: dict[int, Event] = field(default_factory=dict)


def is_safe(attempt_id: str) -> bool:
    """Whether an attempt id can name a file here."""
    return _SAFE.fullmatch(attempt_id) is not None


class Spool:
    """The events not yet acknowledged, in memory and under `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._entries: dict[AttemptId, _Entry] = {}
        self._lock = asyncio.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self) -> list[Event]:
        """Read what an earlier process left, end its unfinished attempts as `agent_restarted`, return all unsent."""
        for path in sorted(self._directory.glob("*.jsonl")):
            entry = _read(path)
            if entry is None:
                path.unlink()
                continue
            self._entries[entry.last.attempt_id] = entry
            if entry.last.status not in TERMINAL:
                end = restarted(entry.last)
                _append(path, _Line(event=end), durable=True)
                self._note(end)
            elif not entry.waiting:
                self._remove(entry.last.attempt_id)
        return self.waiting()

    def waiting(self) -> list[Event]:
        """Every unacknowledged event, each attempt's in sequence."""
        return [event for entry in self._entries.values() for event in entry.waiting.values()]

    def attempts(self) -> list[AttemptId]:
        """Attempts that are held, or have events not acknowledged."""
        return list(self._entries)

    def last(self, attempt_id: AttemptId) -> Event | None:
        """The newest event of an attempt, acknowledged or not; None when it is not held."""
        entry = self._entries.get(attempt_id)
        return entry.last if entry else None

    async def append(self, event: Event) -> None:
        """Put an event on disk. When this returns, a crash no longer loses it."""
        async with self._lock:
            await asyncio.to_thread(_append, self._path(event.attempt_id), _Line(event=event), durable=True)
            self._note(event)

    def acknowledge(self, event: Event) -> None:
        """The orchestrator has the event. After the last one the attempt is forgotten."""
        entry = self._entries.get(event.attempt_id)
        if entry is None:
            return
        entry.waiting.pop(event.seq, None)
        if entry.last.status in TERMINAL and not entry.waiting:
            self._remove(event.attempt_id)
        else:
            _append(self._path(event.attempt_id), _Line(ack=event.seq), durable=False)

    async def abandon(self, attempt_id: AttemptId) -> None:
        """Forget an attempt and all that was to be said about it."""
        async with self._lock:
            self._remove(attempt_id)

    async def set_aside(self, event: Event) -> None:
        """Keep an event that the orchestrator will never take where a person can find it."""
        rejected = self._directory / "rejected"
        rejected.mkdir(mode=0o700, exist_ok=True)
        (rejected / f"{event.attempt_id}.{event.seq}.json").write_bytes(msgspec.json.encode(event))
        entry = self._entries.get(event.attempt_id)
        if entry is not None:
            entry.waiting.pop(event.seq, None)

    def _note(self, event: Event) -> None:
        entry = self._entries.setdefault(event.attempt_id, _Entry(last=event))
        entry.last = event
        entry.waiting[event.seq] = event

    def _remove(self, attempt_id: AttemptId) -> None:
        self._entries.pop(attempt_id, None)
        self._path(attempt_id).unlink(missing_ok=True)

    def _path(self, attempt_id: AttemptId) -> Path:
        return self._directory / f"{attempt_id}.jsonl"


def restarted(last: Event, message: str = "the agent was restarted while it held the run") -> Event:
    """The event that ends an attempt whose agent went away after `last`."""
    return Event(
        run_id=last.run_id,
        attempt_id=last.attempt_id,
        token=last.token,
        seq=last.seq + 1,
        status="failed",
        failure=Failure(kind="agent_restarted", message=message),
    )


def _append(path: Path, line: _Line, *, durable: bool) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(msgspec.json.encode(line) + b"\n")
        if durable:
            os.fsync(file.fileno())


def _read(path: Path) -> _Entry | None:
    """The entry in a file, cut back to its last whole line; None when it holds no event."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    entry: _Entry | None = None
    for number, text in enumerate(content[:whole].splitlines(), 1):
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.MsgspecError as error:
            _log.warning("spool_line_unreadable", file=path.name, line=number, error=str(error))
            continue
        if line.event is not None:
            entry = entry or _Entry(last=line.event)
            entry.last = line.event
            entry.waiting[line.event.seq] = line.event
        elif line.ack is not None and entry is not None:
            entry.waiting.pop(line.ack, None)
    return entry
