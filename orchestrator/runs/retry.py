"""Whether a failed attempt is tried again, and when. Pure: a failure and two counts in, a decision out."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from drivers.wire import Failure, FailureClass


class Retry(Struct, frozen=True):
    """Another attempt, not before delay_s seconds from now."""

    delay_s: float


class Fail(Struct, frozen=True):
    """No other attempt: the run has failed."""


# How many faults of a class a run may have. The run's own max_attempts may allow fewer, never more. None: not the run
# but the machine is to blame; such attempts count for no limit but FORGIVEN, which bounds all attempts of a run.
ALLOWED: Final[dict[FailureClass, int | None]] = {
    "bad_graph": 1,
    "node_error": 1,
    "input_unavailable": 1,
    "timed_out": 1,
    "out_of_memory": 2,
    "executor_crashed": 3,
    "upload_failed": 5,
    "internal": 3,
    "agent_restarted": None,
    "machine_lost": None,
    "not_claimed": None,
    "rejected": None,
}
FORGIVEN: Final = 25
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0


def is_fault(failure: Failure) -> bool:
    """Whether the run may be to blame, so that the failure counts towards its limit."""
    return ALLOWED[failure.kind] is not None


def after(failure: Failure, attempts: int, faults: int, max_attempts: int) -> Retry | Fail:
    """Decide after an attempt failed. attempts counts all made, faults those the run may be to blame for; both with
    this one included. max_attempts 0: there is no second attempt, whoever is to blame for the first.

    The delay doubles from FIRST_DELAY_S with each fault; a machine that vanished costs no delay the first time, since
    another machine is not to blame.
    """
    allowed = ALLOWED[failure.kind]
    if max_attempts == 0 or attempts >= FORGIVEN or (allowed is not None and faults >= min(allowed, max_attempts)):
        return Fail()
    if allowed is not None:
        return Retry(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (faults - 1)))
    forgiven = attempts - faults
    return Retry(min(LONGEST_DELAY_S, 0.0 if forgiven <= 1 else FIRST_DELAY_S * 2 ** (forgiven - 2)))
