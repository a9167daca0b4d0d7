"""Where a run's time went, and why it is where it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from drivers.wire import MachineId, RunId
from orchestrator.runs.schedule import Demand, MachineView, Waiting, Why, choose, explain_choice
from orchestrator.runs.timeline import timeline
from orchestrator.wire import Attempt, RunEvent, RunStatus

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def history(*steps: tuple[RunStatus, float, int]) -> list[RunEvent]:
    """Events of (status, second, attempt)."""
    return [
        RunEvent("r", place, status, T0 + timedelta(seconds=second), attempt)
        for place, (status, second, attempt) in enumerate(steps, 1)
    ]


def test_a_run_that_was_tried_twice() -> None:
    """Each attempt has its own phases, the wait before it among them; the machine's measures go along."""
    told = history(
        ("not-started", 0, 0),
        ("queued", 2, 1),
        ("started", 3, 1),
        ("not-started", 4, 1),
        ("queued", 9, 2),
        ("started", 9, 2),
        ("running", 11, 2),
        ("uploading", 14, 2),
        ("success", 15, 2),
    )
    timings = {"fetch_ms": 1.5, "wait_ms": 2000.0, "execute_ms": 3000.0, "upload_ms": 9.0}
    tried = [
        Attempt("a1", 1, "m1", "one", "ended", T0, "lost"),
        Attempt("a2", 2, "m2", "two", "ended", T0, "success", timings=timings),
    ]
    seen = timeline(told, tried, T0 + timedelta(days=1))
    assert (seen.total_ms, seen.waiting_ms, seen.status) == (15_000, 7_000, "success")
    first, second = seen.attempts
    assert [(phase.name, phase.duration_ms) for phase in first.phases] == [
        ("waiting", 2000),
        ("placed", 1000),
        ("preparing", 1000),
    ]
    assert [(phase.name, phase.duration_ms) for phase in second.phases] == [
        ("waiting", 5000),
        ("placed", 0),
        ("preparing", 2000),
        ("running", 3000),
        ("uploading", 1000),
    ]
    assert (first.outcome, first.cold_start_ms) == ("lost", None)
    assert (second.machine_name, second.cold_start_ms, second.execute_ms) == ("two", 2000.0, 3000.0)


def test_a_run_under_way_is_told_until_now() -> None:
    """The open phase has no end and lasts until now; a run that only waits has one attempt yet to come."""
    now = T0 + timedelta(seconds=8)
    seen = timeline(history(("not-started", 0, 0)), [], now)
    assert (seen.total_ms, seen.waiting_ms) == (8_000, 8_000)
    assert [(one.number, one.phases[0].end) for one in seen.attempts] == [(1, None)]


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=6))
def test_the_phases_add_up(gaps: list[float]) -> None:
    """Whatever the times, the phases of a straight life add up to the whole of it."""
    statuses: list[RunStatus] = ["not-started", "queued", "started", "running", "uploading", "success"]
    seconds = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    told = history(
        *[
            (status, second, min(place, 1))
            for place, (status, second) in enumerate(zip(statuses, seconds, strict=False))
        ]
    )
    seen = timeline(told, [], T0 + timedelta(seconds=seconds[-1]))
    whole = sum(phase.duration_ms for attempt in seen.attempts for phase in attempt.phases)
    assert abs(whole - seen.total_ms) <= len(gaps)


def test_a_placement_says_what_counted() -> None:
    """The choice carries the facts behind its score, as they were before the slot was taken."""
    demand = Demand("org", "v")
    slow = MachineView(MachineId("a"), "org", "a", free=2, slots=2, speeds={"v": 900.0})
    fast = MachineView(MachineId("b"), "org", "b", free=1, slots=2, warm=frozenset({"v"}), speeds={"v": 300.0})
    (placement,) = choose([Waiting(RunId("r"), 1)], {1: demand}, [slow, fast]).placements
    assert placement.machine_id == "b"
    assert placement.why == Why(fitting=2, score=3.0, free=1, slots=2, warm=True, speed_ms=300.0, fastest_ms=300.0)
    said = explain_choice("b", {"fitting": 2, "free": 1, "slots": 2, "warm": True, "speed_ms": 300, "fastest_ms": 300})
    assert said == (
        "it is on b: the best of 2 machines that fit, it ran this version lately, 1 of 2 slots were free, "
        "it takes about 300 ms for this version, the fastest 300 ms"
    )
    assert explain_choice("b", None) == "it is on b"


def test_a_machine_that_failed_before_is_named_as_such() -> None:
    """The only machine left takes the run again, and the reason says so."""
    machine = MachineView(MachineId("a"), "org", "a", free=1, slots=1)
    tried = Waiting(RunId("r"), 1, frozenset({MachineId("a")}))
    (placement,) = choose([tried], {1: Demand("org", "v")}, [machine]).placements
    assert placement.why is not None
    assert placement.why.tried_before
    assert "the only machine that fits" in explain_choice("a", {"fitting": 1, "free": 1, "slots": 1})
