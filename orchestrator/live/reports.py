"""Attempts on machines that report piecemeal: facts in, reports to the ledger out.

Facts are kept in the database, since they come in at any replica; `runs/callbacks.py` says what follows from them. An
attempt that is silent is looked at again by `tick`. It knows neither HTTP nor in what words a machine speaks.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import structlog

from drivers.wire import AttemptId, Failure
from orchestrator.runs.callbacks import LADDER, SEQUENCE, Facts, Verdict, decide, merge
from orchestrator.runs.state import Refusal, Reported
from orchestrator.store import callbacks as store
from orchestrator.store.callbacks import ENDED, Known, Reporter
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger

log = structlog.get_logger("reports")

REMEMBERED: Final = 2000
AGAIN_S: Final = 10.0
BATCH: Final = 100


class Reports:
    """One per process."""

    def __init__(self, db: Database, ledger: Ledger) -> None:
        self._db = db
        self._ledger = ledger
        self._known: OrderedDict[AttemptId, Facts] = OrderedDict()

    async def take(self, reporter: Reporter, facts: Facts) -> Verdict | None:
        """Facts about an attempt whose token was shown; the verdict, or None when they tell nothing new."""
        before = self._known.get(reporter.attempt_id)
        if before is not None and merge(before, facts) == before:
            return None
        known = await store.fold(self._db, reporter, facts, merge)
        self._remember(reporter.attempt_id, known.facts)
        return None if known.told >= ENDED else await self._act(known)

    async def look(self, reporter: Reporter) -> Verdict | None:
        """The verdict as it is now; None: the attempt has ended."""
        known = await store.fold(self._db, reporter, Facts(), merge)
        return None if known.told >= ENDED else await self._act(known)

    def _remember(self, attempt_id: AttemptId, facts: Facts) -> None:
        self._known[attempt_id] = facts
        self._known.move_to_end(attempt_id)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def tick(self) -> bool:
        """Look at attempts that were silent for as long as was waited for. True: there may be more."""
        found = await store.due(self._db, AGAIN_S, BATCH)
        for known in found:
            await self._act(known)
        return len(found) == BATCH

    async def _act(self, known: Known) -> Verdict:
        """Report what the facts amount to, each step once and in order."""
        verdict = decide(known.facts, known.quiet_s)
        sequence = SEQUENCE[verdict.rung]
        refused = False
        if sequence > known.told:
            answers = await self._ledger.change_all(_changes(known, verdict))
            refused = any(isinstance(answer, Refusal) and answer.stop for answer in answers)
            if refused:
                log.info("report refused", run=known.reporter.run_id, attempt=known.reporter.attempt_id)
        await store.note(self._db, known.reporter.attempt_id, ENDED if refused else sequence, verdict.look_in_s)
        return verdict


def _changes(known: Known, verdict: Verdict) -> list[Change]:
    """The reports that lead from what was told to the verdict. A refused graph was never started."""
    reporter, sequence = known.reporter, SEQUENCE[verdict.rung]
    refused = verdict.failure is not None and verdict.failure.kind == "bad_graph"
    steps = [rung for rung in LADDER if known.told < SEQUENCE[rung] <= sequence and not refused]
    if sequence == ENDED and not known.facts.files:
        steps = [rung for rung in steps if rung != "uploading"]
    changes = [_change(reporter, Reported(reporter.attempt_id, SEQUENCE[rung], rung), verdict) for rung in steps]
    if verdict.rung == "success" or verdict.rung == "cancelled":
        changes.append(_change(reporter, Reported(reporter.attempt_id, ENDED, verdict.rung), verdict))
    elif verdict.rung == "failed":
        failure = verdict.failure or Failure("internal", "the machine gave no reason")
        changes.append(_change(reporter, Reported(reporter.attempt_id, ENDED, "failed", failure), verdict))
    return changes


def _change(reporter: Reporter, event: Reported, verdict: Verdict) -> Change:
    outputs = verdict.outputs if event.status == "success" else []
    return Change(
        reporter.run_id,
        event,
        reporter.organisation_id,
        outputs=outputs,
        timings=verdict.timings,
        proven=True,
    )
