"""Lines that executors write for runs: shown at once, stored soon, and no more of either than there is room for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from drivers.wire import AgentLog, Log, MachineId, RunId
from orchestrator.live.hub import Hub
from orchestrator.store import run_logs
from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.store.ids import new_id
from orchestrator.wire import LogPart, MachineLogPart

MOST_WAITING: Final = 2_000
MOST_LINES: Final = 2_000
LONGEST_LINE: Final = 2_000


def _clean(lines: list[str]) -> list[str]:
    return [line.replace("\x00", "")[:LONGEST_LINE] for line in lines[:MOST_LINES]]


class Logs:
    """Parts that wait for the next flush. What comes while too many wait is dropped: lines are never worth a run."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub
        self._waiting: list[tuple[str, LogPart]] = []
        self._own: list[tuple[str, MachineId, MachineLogPart]] = []

    def take(self, organisation_id: str, run_id: RunId | None, frame: Log) -> None:
        """Show lines to the run's watchers and keep them for the next flush. run_id None: not this machine's run."""
        lines = _clean(frame.lines)
        if run_id is None or not lines or len(self._waiting) >= MOST_WAITING:
            return
        part = LogPart(new_id(), run_id, frame.attempt_id, datetime.now(UTC), lines)
        self._waiting.append((organisation_id, part))
        self._hub.publish(organisation_id, part)

    def take_own(self, organisation_id: str, machine_id: MachineId, frame: AgentLog) -> None:
        """Keep lines of an agent's own log for the next flush."""
        lines = _clean(frame.lines)
        if lines and len(self._own) < MOST_WAITING:
            self._own.append((organisation_id, machine_id, MachineLogPart(new_id(), datetime.now(UTC), lines)))

    async def flush(self) -> None:
        """Store what waits."""
        own, self._own = self._own, []
        if own:
            await run_logs.append_own(self._db, own)
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            await run_logs.append(self._db, [owner for owner, _ in waiting], [part for _, part in waiting])
        except DatabaseUnavailable:
            self._waiting = [*waiting, *self._waiting][:MOST_WAITING]
            raise
