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


# How many attempts in all a failure of a class allows; the run's own max_attempts may allow fewer, never more,
# except where the machine and not the run is to blame (None): those are bounded by FORGIVEN alone.
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


def after(failure: Failure, attempts: int, max_attempts: int) -> Retry | Fail:
    """Decide after an attempt failed; attempts counts those made, this one included.

    The delay doubles from FIRST_DELAY_S; a machine that vanished costs no delay the first time, since another
    machine is not to blame.
    """
    allowed = ALLOWED[failure.kind]
    limit = FORGIVEN if allowed is None else min(allowed, max_attempts)
    if attempts >= limit:
        return Fail()
    if allowed is None:
        return Retry(min(LONGEST_DELAY_S, 0.0 if attempts <= 1 else FIRST_DELAY_S * 2 ** (attempts - 2)))
    return Retry(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (attempts - 1)))
