"""The watcher, one leader among the replicas: what was not claimed, not finished or not heard of is brought to an end.

It only finds; whether a run is tried again is decided by the very same `advance()` as everything else.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from drivers.wire import Failure, FailureClass
from orchestrator.config import Config, counted_names
from orchestrator.runs.state import Expired, Lost, RunEvent
from orchestrator.store import files, usage
from orchestrator.store import fleet as store
from orchestrator.store.coordination import Leader
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger

BATCH: Final = 500
DEADLINE_GRACE_S: Final = 15.0
UPLOAD_S: Final = 2 * 3600.0
STALE_GRANT_S: Final = 86400.0
MESSAGES: Final = {
    "machine_lost": "the machine was not heard of until its lease ran out",
    "not_claimed": "the machine did not claim the attempt in time",
}


class Watch:
    """Ticks on every replica; only the leader looks."""

    def __init__(self, db: Database, ledger: Ledger, leader: Leader, config: Config) -> None:
        self._db = db
        self._ledger = ledger
        self._leader = leader
        self._config = config
        self._ticks = 0

    async def tick(self) -> bool:
        """End what is overdue. True when there was a full batch of it."""
        if not await self._leader.hold():
            return False
        extended = await store.tick_clock(self._db, max(3 * self._config.poll_s, self._config.lease_s / 3))
        if extended:
            return False
        overdue = await store.overdue(self._db, DEADLINE_GRACE_S, UPLOAD_S, BATCH)
        await self._ledger.apply([Change(found.run_id, _event(found)) for found in overdue])
        self._ticks += 1
        if self._ticks % 10 == 1:
            await self._sweep()
        return len(overdue) == BATCH

    async def _sweep(self) -> None:
        """What needs no haste: counters, runs nobody ever took, upload grants nobody used."""
        metadata = partial(_rolled_up, names=counted_names(self._config.usage_metadata))
        for roll_up in (store.roll_up_counts, usage.roll_up_usage, metadata, usage.roll_up_storage):
            while await roll_up(self._db, 10_000) == 10_000:
                pass
        await files.drop_stale(self._db, STALE_GRANT_S, BATCH)
        reason = f"nobody took the run within {self._config.queue_timeout_s} s"
        late = await store.waited_too_long(self._db, self._config.queue_timeout_s, BATCH)
        await self._ledger.apply([Change(run_id, Expired(reason)) for run_id in late])


async def _rolled_up(db: Database, limit: int, names: list[str]) -> int:
    return await usage.roll_up_metadata(db, names, limit)


def _event(found: store.Overdue) -> RunEvent:
    if found.why == "timed_out":
        return Expired("the attempt ran longer than timeout_s allows", found.attempt_id)
    kind: FailureClass = "machine_lost" if found.why == "machine_lost" else "not_claimed"
    return Lost(found.attempt_id, Failure(kind, MESSAGES[found.why]))
