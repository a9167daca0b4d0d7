"""Where a run's time went, read from its history. Pure: what "now" is, the caller says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from orchestrator.runs.state import TERMINAL
from orchestrator.wire import Attempt, AttemptTimeline, Phase, RunEvent, RunStatus, Timeline

PhaseName = Literal["waiting", "placed", "preparing", "running", "uploading"]
BEGINS: Final[dict[RunStatus, PhaseName]] = {
    "not-started": "waiting",
    "queued": "placed",
    "started": "preparing",
    "running": "running",
    "uploading": "uploading",
}
"""The phase that begins when a run gets a status; final statuses begin none."""


def timeline(history: Sequence[RunEvent], attempts: Sequence[Attempt], now: datetime) -> Timeline:
    """The phases of a run. history is all of it, in order, and never empty."""
    phases = _phases(history, now)
    last = history[-1]
    end = last.at if last.status in TERMINAL else now
    return Timeline(
        run_id=last.run_id,
        status=last.status,
        total_ms=_ms(history[0].at, end),
        waiting_ms=sum(phase.duration_ms for _, phase in phases if phase.name == "waiting"),
        attempts=_by_attempt(phases, attempts),
    )


def _phases(history: Sequence[RunEvent], now: datetime) -> list[tuple[int, Phase]]:
    """Every phase with the number of its attempt. A wait belongs to the attempt that ends it: the next one."""
    found = []
    for place, event in enumerate(history):
        name = BEGINS.get(event.status)
        if name is None:
            continue
        end = history[place + 1].at if place + 1 < len(history) else None
        attempt = event.attempt + 1 if name == "waiting" else event.attempt
        found.append((attempt, Phase(name, event.at, end, _ms(event.at, end or now))))
    return found


def _by_attempt(phases: Sequence[tuple[int, Phase]], attempts: Sequence[Attempt]) -> list[AttemptTimeline]:
    made = {attempt.number: attempt for attempt in attempts}
    numbers = sorted({number for number, _ in phases} | made.keys())
    return [_one(number, [phase for of, phase in phases if of == number], made.get(number)) for number in numbers]


def _one(number: int, phases: list[Phase], attempt: Attempt | None) -> AttemptTimeline:
    if attempt is None:
        return AttemptTimeline(number, phases)
    measured = attempt.timings or {}
    return AttemptTimeline(
        number=number,
        phases=phases,
        machine_id=attempt.machine_id,
        machine_name=attempt.machine_name,
        outcome=attempt.outcome,
        fetch_ms=measured.get("fetch_ms"),
        cold_start_ms=measured.get("wait_ms"),
        execute_ms=measured.get("execute_ms"),
        upload_ms=measured.get("upload_ms"),
    )


def _ms(begin: datetime, end: datetime) -> int:
    return max(0, round((end - begin).total_seconds() * 1000))
