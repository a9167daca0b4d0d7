"""What must be true of every run once the dust has settled, read from the database and through the API.

Each check raises AssertionError naming the run. It does not know what was killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import asyncpg
import msgspec
from asyncpg import Record

from drivers.wire import Failure
from orchestrator.runs.retry import FORGIVEN, Fail, after
from orchestrator.runs.state import TERMINAL, TRANSITIONS

Row = dict[str, Any]


class Books:
    """The rows about some runs, by run."""

    def __init__(self, runs: list[Row], tables: dict[str, list[Row]]) -> None:
        self.runs = {str(row["id"]): row for row in runs}
        self._tables = tables

    def of(self, table: str, run_id: str) -> list[Row]:
        """The table's rows of one run, in order."""
        return [row for row in self._tables[table] if str(row["run_id"]) == run_id]


async def read_books(connection: asyncpg.Connection[Record]) -> Books:
    """Everything the database holds about runs."""

    async def rows(statement: str) -> list[Row]:
        return [dict(row) for row in await connection.fetch(statement)]

    return Books(
        await rows("select * from runs order by id"),
        {
            "run_events": await rows("select * from run_events order by run_id, revision"),
            "attempts": await rows("select * from attempts order by run_id, number"),
            "outputs": await rows("select * from outputs order by run_id, ordinal"),
            "webhook_outbox": await rows("select * from webhook_outbox order by run_id, revision"),
        },
    )


def check_run(books: Books, run_id: str) -> None:
    """One run: its history, attempts, outputs and messages agree, and it ended once."""
    run = books.runs[run_id]
    check_history([(row["revision"], row["status"]) for row in books.of("run_events", run_id)], run_id)
    assert books.of("run_events", run_id)[-1]["status"] == run["status"], run_id
    _check_attempts(run, books.of("attempts", run_id))
    _check_outputs(run, books.of("attempts", run_id), books.of("outputs", run_id))
    ended = [row for row in books.of("webhook_outbox", run_id) if row["event_type"] == "run.ended"]
    assert len(ended) == 1, f"{run_id}: {len(ended)} messages that it ended"


def check_history(history: Iterable[tuple[int, str]], run_id: str) -> None:
    """Revisions without a gap from 1, every move legal, one terminal status, at the end."""
    revisions, statuses = zip(*history, strict=True)
    assert revisions == tuple(range(1, len(revisions) + 1)), f"{run_id}: revisions {revisions}"
    assert statuses[0] == "not-started", f"{run_id}: {statuses}"
    for before, now in pairwise(statuses):
        legal = {target for targets in TRANSITIONS[before].values() for target in targets}
        assert now in legal, f"{run_id}: from {before} to {now}"
    assert [status in TERMINAL for status in statuses].count(True) == 1, f"{run_id}: {statuses}"
    assert statuses[-1] in TERMINAL, f"{run_id}: {statuses}"


def _check_attempts(run: Row, attempts: list[Row]) -> None:
    run_id = str(run["id"])
    assert [row["number"] for row in attempts] == list(range(1, run["attempts"] + 1)), run_id
    assert all(row["state"] == "ended" for row in attempts), f"{run_id}: an attempt is open"
    assert len(attempts) <= FORGIVEN, f"{run_id}: {len(attempts)} attempts"
    outcomes = Counter(row["outcome"] for row in attempts)
    if run["status"] == "success":
        assert outcomes["success"] == 1, f"{run_id}: {outcomes}"
        assert attempts[-1]["outcome"] == "success", f"{run_id}: a later attempt than the winner"
        return
    assert run["status"] == "failed", f"{run_id}: {run['status']}"
    failure = msgspec.convert(msgspec.json.decode(run["failure"]), Failure)
    decision = after(failure, run["attempts"], run["max_attempts"])
    assert isinstance(decision, Fail), f"{run_id}: failed although it had attempts left: {failure}"


def _check_outputs(run: Row, attempts: list[Row], outputs: list[Row]) -> None:
    run_id = str(run["id"])
    if run["status"] != "success":
        assert not outputs, f"{run_id}: outputs of a run that failed"
        return
    assert len(outputs) == 1, f"{run_id}: {len(outputs)} outputs"
    winner = next(row["id"] for row in attempts if row["outcome"] == "success")
    assert outputs[0]["attempt_id"] == winner, f"{run_id}: the output of an attempt that did not win"


async def check_counters(connection: asyncpg.Connection[Record]) -> None:
    """The kept counters agree with counting."""
    kept = await connection.fetch(
        """
        select status::text, sum(n)::int as n from (
          select status, n from run_counts union all select status, delta from run_count_deltas
        ) c group by status having sum(n) <> 0 order by status
        """
    )
    counted = await connection.fetch(
        "select status::text, count(*)::int as n from runs group by status order by status"
    )
    assert sorted(map(tuple, kept)) == sorted(map(tuple, counted))
