"""The life of a run, as one table.

Rule 1: everything that decides whether a run may change stands in this file. Whoever wants a run to change (a client, a
machine, a loop that found a lease run out) makes an event and calls `advance()`; the store applies the step with one
UPDATE guarded by the run's revision. Nothing here does I/O, reads a clock or knows SQL.

A terminal status never changes. A late, repeated or foreign event changes nothing and says so in a `Refusal`.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from drivers.wire import AttemptId, Failure, MachineId, ReportedStatus, Verdict
from orchestrator.runs.retry import Fail, Retry, after, is_fault

Status = Literal[
    "not-started", "queued", "started", "running", "uploading", "success", "failed", "timeout", "cancelled"
]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
TERMINAL: Final[frozenset[Status]] = frozenset({"success", "failed", "timeout", "cancelled"})
HELD: Final[frozenset[Status]] = frozenset({"queued", "started", "running", "uploading"})

Trigger = Literal[
    "placed",
    "started",
    "running",
    "uploading",
    "success",
    "failed",
    "timeout",
    "cancelled",
    "lost",
    "cancel",
    "expired",
]

TRANSITIONS: Final[dict[Status, dict[Trigger, tuple[Status, ...]]]] = {
    "not-started": {
        "placed": ("queued",),
        "cancel": ("cancelled",),
        "expired": ("timeout",),
    },
    "queued": {
        "started": ("started",),
        "failed": ("not-started", "failed"),
        "timeout": ("timeout",),
        "cancelled": ("cancelled",),
        "lost": ("not-started", "failed"),
        "cancel": ("cancelled",),
        "expired": ("timeout",),
    },
    "started": {
        "running": ("running",),
        "uploading": ("uploading",),
        "success": ("success",),
        "failed": ("not-started", "failed"),
        "timeout": ("timeout",),
        "cancelled": ("cancelled",),
        "lost": ("not-started", "failed"),
        "cancel": ("cancelled",),
        "expired": ("timeout",),
    },
    "running": {
        "uploading": ("uploading",),
        "success": ("success",),
        "failed": ("not-started", "failed"),
        "timeout": ("timeout",),
        "cancelled": ("cancelled",),
        "lost": ("not-started", "failed"),
        "cancel": ("cancelled",),
        "expired": ("timeout",),
    },
    "uploading": {
        "success": ("success",),
        "failed": ("not-started", "failed"),
        "timeout": ("timeout",),
        "cancelled": ("cancelled",),
        "lost": ("not-started", "failed"),
        "cancel": ("cancelled",),
        "expired": ("timeout",),
    },
    "success": {},
    "failed": {},
    "timeout": {},
    "cancelled": {},
}
"""status -> trigger -> where it may lead. Two targets: the first is another attempt, the second the end."""


class RunState(Struct, frozen=True):
    """What the rules need to know of a run.

    attempts counts those made, faults those of them that failed in a way the run may be to blame for; sequence is the
    last event taken of the present attempt.
    """

    status: Status
    revision: int = 1
    attempts: int = 0
    max_attempts: int = 3
    attempt_id: AttemptId | None = None
    machine_id: MachineId | None = None
    sequence: int = 0
    failure: Failure | None = None
    delay_s: float = 0.0
    faults: int = 0


class Placed(Struct, frozen=True):
    """The scheduler gives the run to a machine; the attempt row is written with it."""

    attempt_id: AttemptId
    machine_id: MachineId


class Reported(Struct, frozen=True):
    """A machine reports on an attempt, whose token has been verified."""

    attempt_id: AttemptId
    seq: int
    status: ReportedStatus
    failure: Failure | None = None


class Lost(Struct, frozen=True):
    """The attempt will not be heard of again: its lease ran out, it was declined, or its machine forgot it."""

    attempt_id: AttemptId
    failure: Failure


class Cancel(Struct, frozen=True):
    """A client wants the run ended."""

    reason: str = "cancelled by the client"


class Expired(Struct, frozen=True):
    """A deadline of the run passed. attempt_id is None for the deadline of waiting."""

    reason: str
    attempt_id: AttemptId | None = None


RunEvent = Placed | Reported | Lost | Cancel | Expired


class Step(Struct, frozen=True):
    """An accepted change: the state after it, and whether the attempt that held the run has ended with it."""

    state: RunState
    ended_attempt: AttemptId | None = None
    outcome: str | None = None
    reason: str | None = None


class Refusal(Struct, frozen=True):
    """Nothing changes. stop: whoever reported no longer holds the run and should stop working on it."""

    verdict: Verdict
    reason: str
    stop: bool = False


def advance(state: RunState, event: RunEvent) -> Step | Refusal:
    """The only way a run changes.

    Returns the step to apply, with revision one higher, or the refusal that says why nothing changes.
    """
    if isinstance(event, Reported):
        return _reported(state, event)
    if state.status in TERMINAL:
        return Refusal("late", f"the run has ended as {state.status}", stop=True)
    if isinstance(event, Placed):
        return _placed(state, event)
    if isinstance(event, Lost):
        return _lost(state, event)
    if isinstance(event, Cancel):
        return _end(state, "cancelled", event.reason, None)
    return _expired(state, event)


def _placed(state: RunState, event: Placed) -> Step | Refusal:
    if state.status != "not-started":
        return Refusal("late", f"the run is already {state.status}")
    return Step(
        replace(
            state,
            status="queued",
            revision=state.revision + 1,
            attempts=state.attempts + 1,
            attempt_id=event.attempt_id,
            machine_id=event.machine_id,
            sequence=0,
            delay_s=0.0,
        )
    )


def _reported(state: RunState, event: Reported) -> Step | Refusal:
    refusal = _why_not_its_turn(state, event)
    if refusal is not None:
        return refusal
    if event.status not in TRANSITIONS[state.status]:
        return Refusal("late", f"a run that is {state.status} cannot become {event.status}")
    if event.status == "failed":
        failure = event.failure or Failure("internal", "the machine gave no reason")
        return _again_or_fail(state, failure, event.seq)
    if event.status in TERMINAL:
        return _end(state, event.status, None, event.failure, event.seq)
    return Step(replace(state, status=event.status, revision=state.revision + 1, sequence=event.seq))


def _why_not_its_turn(state: RunState, event: Reported) -> Refusal | None:
    if event.attempt_id != state.attempt_id:
        return Refusal("foreign", "the run is not held by this attempt", stop=True)
    if event.seq <= state.sequence:
        ended = state.status in TERMINAL
        return Refusal("duplicate", f"event {event.seq} was taken before", stop=ended)
    if state.status in TERMINAL:
        return Refusal("late", f"the run has ended as {state.status}", stop=True)
    if state.status == "queued" and event.seq > 1 and event.status not in ("failed", "cancelled", "timeout"):
        return Refusal("late", "the attempt was not claimed: its first event is missing", stop=True)
    return None


def _lost(state: RunState, event: Lost) -> Step | Refusal:
    if event.attempt_id != state.attempt_id or state.status not in HELD:
        return Refusal("foreign", "the run is not held by this attempt", stop=True)
    return _again_or_fail(state, event.failure, state.sequence, outcome="lost")


def _expired(state: RunState, event: Expired) -> Step | Refusal:
    if event.attempt_id is not None and event.attempt_id != state.attempt_id:
        return Refusal("foreign", "the deadline is of another attempt")
    if event.attempt_id is None and state.status != "not-started":
        return Refusal("late", f"the run is already {state.status}")
    return _end(state, "timeout", event.reason, Failure("timed_out", event.reason))


def _again_or_fail(state: RunState, failure: Failure, seq: int, outcome: str = "failed") -> Step:
    state = replace(state, faults=state.faults + is_fault(failure))
    decision = after(failure, state.attempts, state.faults, state.max_attempts)
    if isinstance(decision, Fail):
        step = _end(state, "failed", failure.message, failure, seq)
        return replace(step, outcome=outcome)
    return Step(_waiting(state, failure, decision), state.attempt_id, outcome, failure.message)


def _waiting(state: RunState, failure: Failure, retry: Retry) -> RunState:
    return replace(
        state,
        status="not-started",
        revision=state.revision + 1,
        attempt_id=None,
        sequence=0,
        failure=failure,
        delay_s=retry.delay_s,
    )


def _end(state: RunState, status: Status, reason: str | None, failure: Failure | None, seq: int | None = None) -> Step:
    after_it = replace(
        state,
        status=status,
        revision=state.revision + 1,
        sequence=state.sequence if seq is None else seq,
        failure=None if status == "success" else failure or state.failure,
    )
    held = state.attempt_id if state.status in HELD else None
    return Step(after_it, held, status if held else None, reason)


def diagram() -> str:
    """The table as a Mermaid state diagram, for docs/run-lifecycle.md."""
    lines = ["stateDiagram-v2", "    [*] --> not_started"]
    for status, triggers in TRANSITIONS.items():
        edges: dict[Status, list[Trigger]] = {}
        for trigger, targets in triggers.items():
            for target in targets:
                edges.setdefault(target, []).append(trigger)
        lines += [f"    {_name(status)} --> {_name(target)} : {', '.join(names)}" for target, names in edges.items()]
    lines += [f"    {status} --> [*]" for status in STATUSES if status in TERMINAL]
    return "\n".join(lines) + "\n"


def _name(status: Status) -> str:
    return status.replace("-", "_")
