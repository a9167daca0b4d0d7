"""The door of the queue: runs come in coalesced, and whoever dispatches or watches is told after the commit."""

from __future__ import annotations

from collections.abc import Callable

from drivers.wire import RunId
from orchestrator.live.quotas import QuotaBook, queue_full
from orchestrator.store import runs, targets
from orchestrator.store.db import Database
from orchestrator.store.idempotency import Repeated
from orchestrator.store.writer import Writer


class Queue:
    """Stores new runs, within their organisations' quotas. `added` is called with them after each commit."""

    def __init__(self, db: Database, added: Callable[[list[runs.NewRun]], None]) -> None:
        self._db = db
        self._added = added
        self.quotas = QuotaBook(db)
        self._writer: Writer[runs.NewRun, RunId | Repeated | None] = Writer(self._insert)
        self._reader: Writer[targets.Wanted, targets.Target | None] = Writer(self._look_up)

    def start(self) -> None:
        """Begin to take runs."""
        self._writer.start()
        self._reader.start()

    async def stop(self) -> None:
        """End; runs that are not yet committed are refused."""
        await self._reader.stop()
        await self._writer.stop()

    async def target(self, wanted: targets.Wanted) -> targets.Target | None:
        """What a run shall be of, as it is now; look-ups that wait share a query."""
        return await self._reader.put(wanted)

    async def _look_up(self, wanted: list[targets.Wanted]) -> list[targets.Target | None]:
        return await targets.targets(self._db, wanted)

    async def add(self, run: runs.NewRun) -> RunId | Repeated | None:
        """Queue a run; once this returns it is durable and will end exactly once. Else: as runs.insert has it.

        Raises TooMany or Forbidden (`quota_exceeded`).
        """
        if await self._bound(run) is None:
            return await self._writer.put(run)
        return (await self._add_together([run]))[0]

    async def add_batch(self, batch_id: str, new: list[runs.NewRun]) -> None:
        """Queue a batch, whole or not at all. Raises as `add`."""
        await self._add_together(new, batch_id)

    async def _bound(self, run: runs.NewRun) -> int | None:
        await self.quotas.check_storage(run.organisation_id, 0)
        return (await self.quotas.of(run.organisation_id)).max_queued_runs

    async def _add_together(self, new: list[runs.NewRun], batch_id: str | None = None) -> list[RunId | Repeated | None]:
        most = await self._bound(new[0])
        try:
            answers = await runs.insert_together(self._db, new, batch_id=batch_id, most_waiting=most)
        except runs.QueueFull as error:
            raise queue_full(most or 0) from error
        self._tell(new, answers)
        return answers

    async def _insert(self, new: list[runs.NewRun]) -> list[RunId | Repeated | None]:
        answers = await runs.insert(self._db, new)
        self._tell(new, answers)
        return answers

    def _tell(self, new: list[runs.NewRun], answers: list[RunId | Repeated | None]) -> None:
        self._added([run for run, answer in zip(new, answers, strict=True) if isinstance(answer, str)])
