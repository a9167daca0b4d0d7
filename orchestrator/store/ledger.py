"""The one door through which runs change: facts loaded, `runs.state.advance()` asked, one guarded UPDATE.

A batch of changes is folded run by run with the pure rules, then applied by a single statement: the runs whose revision
is still the one the decision was made on are updated, and with them, atomically, their attempts, outputs, history,
webhook outbox and counters. Runs that somebody else changed meanwhile are loaded and decided again.

It does not know who asks for a change (the API, a machine, a loop) nor who is told of it afterwards (`told`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from drivers.wire import AttemptId, Failure, LeaseToken, MachineId, Output, RunId, Timings
from orchestrator.runs.schedule import Why
from orchestrator.runs.state import (
    Placed,
    Refusal,
    Reported,
    RunEvent,
    RunState,
    Status,
    Step,
    advance,
)
from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.store.ledger_sql import APPLY, LOAD
from orchestrator.store.writer import Writer

MOST_ROUNDS: Final = 20


class Change(Struct, frozen=True):
    """A wish that a run change. organisation_id, when given, must own the run; token proves a machine's report.

    proven: the attempt's token was shown before, with what the report is drawn from.
    """

    run_id: RunId
    event: RunEvent
    organisation_id: str | None = None
    token: LeaseToken | None = None
    outputs: list[Output] = []
    timings: Timings | None = None
    known: RunState | None = None  # what the caller loaded, to spare a read; the revision guards it
    token_hash: bytes | None = None  # of a placement: the hash of its lease token
    claim_s: float = 0.0
    why: Why | None = None  # of a placement: what counted
    proven: bool = False


class Changed(Struct, frozen=True):
    """An accepted change, as those who listen are told of it."""

    run_id: RunId
    organisation_id: str
    before: Status
    state: RunState
    ended_attempt: AttemptId | None
    outcome: str | None
    machine_id: MachineId | None
    reason: str | None
    version_id: str
    timings: Timings | None


Told = Callable[[list[Changed], bool], None]
"""Called after each commit with what changed, and whether webhook messages were written with it."""


class _Row(Struct):
    """A run as loaded, and what the fold made of it."""

    run_id: RunId
    organisation_id: str
    version_id: str
    state: RunState
    token_hash: bytes | None
    revision: int
    changes: list[tuple[Change, Changed]] = msgspec.field(default_factory=list)


class Ledger:
    """Applies changes. Answers in the order of the wishes; safe to use from any number of tasks and replicas."""

    def __init__(self, db: Database, told: Told, *, lanes: int = 2) -> None:
        self._db = db
        self._told = told
        self._writer: Writer[Change, Step | Refusal] = Writer(self.apply, lanes=lanes)

    def start(self) -> None:
        """Begin to take single changes."""
        self._writer.start()

    async def stop(self) -> None:
        """End; single changes that wait are cancelled."""
        await self._writer.stop()

    async def change(self, change: Change) -> Step | Refusal:
        """One change, coalesced with whatever else waits. Returns after the commit."""
        return await self._writer.put(change, change.run_id)

    async def change_all(self, changes: list[Change]) -> list[Step | Refusal]:
        """Changes in order, each coalesced with whatever else waits. Returns after the last commit."""
        return await asyncio.gather(*[self._writer.enqueue(change, change.run_id) for change in changes])

    async def apply(self, wishes: list[Change]) -> list[Step | Refusal]:
        """Changes in order, each run's in sequence. Raises DatabaseUnavailable, then nothing is known to be applied."""
        answers: list[Step | Refusal | None] = [None] * len(wishes)
        todo = list(range(len(wishes)))
        trust = True
        for _ in range(MOST_ROUNDS):
            if not todo:
                break
            rows = await self._load([wishes[place] for place in todo], trust=trust)
            await self._round(wishes, todo, rows, answers)
            todo = [place for place in todo if answers[place] is None]
            trust = False
        return [answer or Refusal("late", "the run changes too often; ask again") for answer in answers]

    async def _load(self, wishes: list[Change], *, trust: bool) -> dict[RunId, _Row]:
        rows = {
            wish.run_id: _Row(wish.run_id, wish.organisation_id or "", "", wish.known, None, wish.known.revision)
            for wish in wishes
            if trust and wish.known is not None
        }
        missing = {wish.run_id for wish in wishes} - rows.keys()
        if missing:
            for record in await self._db.fetch(LOAD, list(missing)):
                row = _row(record)
                rows[row.run_id] = row
        return rows

    async def _round(
        self,
        wishes: list[Change],
        todo: list[int],
        rows: dict[RunId, _Row],
        answers: list[Step | Refusal | None],
    ) -> None:
        """Fold every wish into its run's row; apply; leave unanswered those whose run had changed."""
        steps: dict[int, Step] = {}
        for place in todo:
            verdict = _decide(wishes[place], rows.get(wishes[place].run_id))
            if isinstance(verdict, Step):
                steps[place] = verdict
            else:
                answers[place] = verdict
        touched = [row for row in rows.values() if row.changes]
        if not touched:
            return
        records = await self._db.fetch(APPLY, *_arguments(touched))
        done = {RunId(str(record["id"])) for record in records}
        stale = {row.run_id for row in touched} - done
        for place in todo:
            if wishes[place].run_id in stale:
                answers[place] = None  # also refusals: they were decided on a state that was not true
            elif place in steps:
                answers[place] = steps[place]
        told = [changed for row in touched if row.run_id in done for _, changed in row.changes]
        self._told(told, any(record["to_tell"] for record in records))


def _row(record: Any) -> _Row:
    failure = record["failure"]
    state = RunState(
        status=record["status"],
        revision=record["revision"],
        attempts=record["attempts"],
        max_attempts=record["max_attempts"],
        attempt_id=AttemptId(str(record["attempt_id"])) if record["attempt_id"] else None,
        machine_id=MachineId(str(record["machine_id"])) if record["machine_id"] else None,
        sequence=record["sequence"],
        failure=msgspec.convert(failure, Failure) if failure else None,
        faults=record["faults"],
    )
    return _Row(
        RunId(str(record["id"])),
        str(record["organisation_id"]),
        str(record["version_id"]),
        state,
        record["token_hash"],
        state.revision,
    )


def _decide(wish: Change, row: _Row | None) -> Step | Refusal:
    """Ask the rules; a step is folded into the row."""
    if row is None or (wish.organisation_id is not None and wish.organisation_id != row.organisation_id):
        return Refusal("unknown", "no such run", stop=True)
    if isinstance(wish.event, Reported) and not wish.proven and not _token_fits(wish, row):
        return Refusal("foreign", "the token is not that of the attempt which holds the run", stop=True)
    verdict = advance(row.state, wish.event)
    if isinstance(verdict, Step):
        changed = Changed(
            run_id=row.run_id,
            organisation_id=row.organisation_id,
            before=row.state.status,
            state=verdict.state,
            ended_attempt=verdict.ended_attempt,
            outcome=verdict.outcome,
            machine_id=verdict.state.machine_id,
            reason=verdict.reason,
            version_id=row.version_id,
            timings=wish.timings,
        )
        row.changes.append((wish, changed))
        row.state = verdict.state
    return verdict


def _token_fits(wish: Change, row: _Row) -> bool:
    if wish.token is None or row.token_hash is None:
        return False
    return hashlib.sha256(wish.token.encode()).digest() == row.token_hash


def _arguments(rows: list[_Row]) -> list[list[Any]]:
    """The columns of APPLY's six unnests, in its order; those that were added to it later stand at the end."""
    placed = _columns(7, (_placed_columns(wish, row) for row in rows for wish, _ in row.changes if _is_placed(wish)))
    return [
        *_columns(11, (_run_columns(row) for row in rows)),
        *_columns(6, (_history_columns(changed) for row in rows for _, changed in row.changes)),
        *placed[:6],
        *_columns(2, (_claimed_columns(wish) for row in rows for wish, _ in row.changes if _is_claim(wish))),
        *_columns(5, (_ended_columns(wish, c) for row in rows for wish, c in row.changes if c.ended_attempt)),
        *_columns(8, (column for row in rows for column in _output_columns(row))),
        placed[6],
    ]


def _columns(width: int, rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    columns: list[list[Any]] = [[] for _ in range(width)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def _run_columns(row: _Row) -> tuple[Any, ...]:
    state = row.state
    return (
        row.run_id,
        row.revision,
        state.revision,
        state.status,
        state.attempts,
        state.attempt_id,
        state.machine_id,
        state.sequence,
        msgspec.to_builtins(state.failure) if state.failure else None,
        state.delay_s,
        state.faults,
    )


def _history_columns(changed: Changed) -> tuple[Any, ...]:
    state = changed.state
    return (changed.run_id, state.revision, state.status, state.attempts, state.machine_id, changed.reason)


def _is_placed(wish: Change) -> bool:
    return isinstance(wish.event, Placed)


def _is_claim(wish: Change) -> bool:
    return isinstance(wish.event, Reported) and wish.event.status == "started"


def _placed_columns(wish: Change, row: _Row) -> tuple[Any, ...]:
    event = wish.event
    if not isinstance(event, Placed):
        raise TypeError(event)
    why = msgspec.to_builtins(wish.why) if wish.why else None
    return (event.attempt_id, row.run_id, row.state.attempts, event.machine_id, wish.token_hash, wish.claim_s, why)


def _claimed_columns(wish: Change) -> tuple[Any, ...]:
    event = wish.event
    if not isinstance(event, Reported):
        raise TypeError(event)
    return (event.attempt_id, wish.run_id)


def _ended_columns(wish: Change, changed: Changed) -> tuple[Any, ...]:
    failure = getattr(wish.event, "failure", None)
    return (
        changed.ended_attempt,
        changed.run_id,
        changed.outcome,
        msgspec.to_builtins(failure) if failure else None,
        msgspec.to_builtins(wish.timings) if wish.timings else None,
    )


def _output_columns(row: _Row) -> Iterable[tuple[Any, ...]]:
    """Outputs count only with success: those of an attempt that did not win are never written."""
    for wish, changed in row.changes:
        if changed.state.status != "success" or not isinstance(wish.event, Reported):
            continue
        for ordinal, output in enumerate(wish.outputs):
            yield (
                uuid7(),
                row.run_id,
                wish.event.attempt_id,
                output.node_id,
                output.kind,
                ordinal,
                UUID(output.file_id) if output.file_id else None,
                # as text: asyncpg takes a list among the elements of a jsonb array for a further dimension
                None if output.data is None else msgspec.json.encode(output.data).decode(),
            )
