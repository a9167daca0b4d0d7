"""The door of the queue: runs come in coalesced, and whoever dispatches or watches is told after the commit."""

from __future__ import annotations

from collections.abc import Callable

from drivers.wire import RunId
from orchestrator.store import runs
from orchestrator.store.db import Database
from orchestrator.store.idempotency import Repeated
from orchestrator.store.writer import Writer


class Queue:
    """Stores new runs. `added` is called with them after each commit."""

    def __init__(self, db: Database, added: Callable[[list[runs.NewRun]], None]) -> None:
        self._db = db
        self._added = added
        self._writer: Writer[runs.NewRun, RunId | Repeated | None] = Writer(self._insert)
        self._reader: Writer[runs.Wanted, runs.Target | None] = Writer(self._look_up)

    def start(self) -> None:
        """Begin to take runs."""
        self._writer.start()
        self._reader.start()

    async def stop(self) -> None:
        """End; runs that are not yet committed are refused."""
        await self._reader.stop()
        await self._writer.stop()

    async def target(self, wanted: runs.Wanted) -> runs.Target | None:
        """What a run shall be of, as it is now; look-ups that wait share a query."""
        return await self._reader.put(wanted)

    async def _look_up(self, wanted: list[runs.Wanted]) -> list[runs.Target | None]:
        return await runs.targets(self._db, wanted)

    async def add(self, run: runs.NewRun) -> RunId | Repeated | None:
        """Queue a run; once this returns it is durable and will end exactly once. Else: as runs.insert has it."""
        return await self._writer.put(run)

    async def add_batch(self, batch_id: str, new: list[runs.NewRun], created_by: str | None) -> None:
        """Queue a batch, whole or not at all."""
        await runs.insert_batch(self._db, batch_id, new, created_by)
        self._added(new)

    async def _insert(self, new: list[runs.NewRun]) -> list[RunId | Repeated | None]:
        answers = await runs.insert(self._db, new)
        self._added([run for run, answer in zip(new, answers, strict=True) if isinstance(answer, str)])
        return answers
