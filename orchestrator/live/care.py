"""Takes machines out of use that fail run after run. It counts here; the database has the last word."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog
from msgspec import Struct

from drivers.wire import MachineId
from orchestrator.runs.care import Streaks, reason_of
from orchestrator.store import quarantine
from orchestrator.store.db import Database
from orchestrator.store.ledger import Changed

log = structlog.get_logger("care")


class Suspect(Struct, frozen=True):
    """A machine with faults in a row."""

    streak: int
    reason: str


class Care:
    """Told of every change of a run; `tick` then quarantines.

    limit: faults in a row, for machines whose policy names none. taken: called when any was quarantined.
    """

    def __init__(self, db: Database, limit: int, taken: Callable[[], None]) -> None:
        self._db = db
        self._limit = limit
        self._taken = taken
        self._streaks = Streaks()
        self._suspects: dict[MachineId, Suspect] = {}

    def told(self, changes: Iterable[Changed]) -> None:
        """Attempts ended."""
        for changed in changes:
            if changed.ended_attempt is None or changed.machine_id is None:
                continue
            failure = changed.state.failure
            kind = None if failure is None else failure.kind
            streak = self._streaks.note(changed.machine_id, changed.run_id, changed.outcome, kind)
            if streak and kind is not None:
                self._suspects[changed.machine_id] = Suspect(streak, reason_of(streak, kind))
            else:
                self._suspects.pop(changed.machine_id, None)

    async def tick(self) -> bool:
        """Quarantine those whose streak is as long as their policy allows."""
        suspects, self._suspects = self._suspects, {}
        if not suspects:
            return False
        found = {machine_id: (suspect.streak, suspect.reason) for machine_id, suspect in suspects.items()}
        taken = await quarantine.automatic(self._db, found, self._limit)
        for machine_id in taken:
            self._streaks.forget(machine_id)
            log.warning("machine quarantined", machine_id=machine_id, reason=suspects[machine_id].reason)
        if taken:
            self._taken()
        return False
