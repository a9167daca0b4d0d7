"""Which ends of attempts speak against a machine."""

from __future__ import annotations

from drivers.wire import MachineId, RunId
from orchestrator.runs.care import Streaks
from orchestrator.runs.schedule import Demand, MachineView, why_unfit

M = MachineId("m")


def note(streaks: Streaks, run: str, outcome: str, kind: str | None = None) -> int:
    """The end of an attempt on M."""
    return streaks.note(M, RunId(run), outcome, kind)  # type: ignore[arg-type]


def test_a_success_ends_a_streak_of_the_machines_own_faults() -> None:
    """Crashes and losses of different runs count up; one success and it begins anew."""
    streaks = Streaks()
    assert [note(streaks, "a", "failed", "executor_crashed"), note(streaks, "b", "lost", "machine_lost")] == [1, 2]
    assert note(streaks, "c", "success") == 0
    assert note(streaks, "d", "failed", "internal") == 1


def test_one_run_counts_once_and_its_own_faults_not_at_all() -> None:
    """A run that crashes every executor, a node that raises, a timeout and a cancel say nothing of the machine."""
    streaks = Streaks()
    assert [note(streaks, "poison", "failed", "executor_crashed") for _ in range(3)] == [1, 1, 1]
    for outcome, kind in (("failed", "node_error"), ("failed", "out_of_memory"), ("timeout", "timed_out")):
        assert note(streaks, "other", outcome, kind) == 1
    assert note(streaks, "other", "cancelled") == 1
    assert note(streaks, "other", "lost", "rejected") == 1


def test_a_machine_kept_for_other_versions_is_unfit() -> None:
    """A policy that names versions admits these alone."""
    machine = MachineView(M, "org", "m", free=1, slots=1, versions=frozenset({"v"}))
    assert why_unfit(Demand("org", "v"), machine) is None
    assert why_unfit(Demand("org", "w"), machine) == "is kept for other versions by its policy"
