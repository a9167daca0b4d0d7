"""When a machine is quarantined by itself: faults of the machine's own, of different runs, in a row. Pure."""

from __future__ import annotations

from typing import Final

from drivers.wire import FailureClass, MachineId, RunId

MACHINE_FAULTS: Final[frozenset[FailureClass]] = frozenset(
    {"executor_crashed", "machine_lost", "not_claimed", "upload_failed", "internal"}
)
"""Classes of failure that speak against the machine when they come again and again, whatever it is given."""

MOST_COUNTED: Final = 1000


class Streaks:
    """How many different runs failed in a row by each machine's own fault, since a run went well on it."""

    def __init__(self) -> None:
        self._runs: dict[MachineId, set[RunId]] = {}

    def note(self, machine_id: MachineId, run_id: RunId, outcome: str | None, kind: FailureClass | None) -> int:
        """Take the end of an attempt; returns the length of the machine's streak.

        A success ends it. A run that fails again and again counts once: it may be the run that is to blame. What is no
        fault of the machine's counts neither way.
        """
        if outcome == "success":
            self._runs.pop(machine_id, None)
            return 0
        if outcome not in ("failed", "lost") or kind not in MACHINE_FAULTS:
            return len(self._runs.get(machine_id, ()))
        seen = self._runs.setdefault(machine_id, set())
        if len(seen) < MOST_COUNTED:
            seen.add(run_id)
        return len(seen)

    def forget(self, machine_id: MachineId) -> None:
        """It was quarantined, or released: it begins anew."""
        self._runs.pop(machine_id, None)


def reason_of(streak: int, kind: FailureClass) -> str:
    """Why a machine was quarantined, for people."""
    return f"{streak} runs in a row failed by the machine's own fault, the last one as {kind}"
