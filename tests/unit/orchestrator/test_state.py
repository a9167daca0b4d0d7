"""The life of a run: whatever comes, in whatever order, it ends once and stays ended."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from drivers.wire import AttemptId, Failure, FailureClass, MachineId, ReportedStatus
from orchestrator.runs.retry import ALLOWED, FORGIVEN, Fail, after
from orchestrator.runs.state import (
    HELD,
    STATUSES,
    TERMINAL,
    TRANSITIONS,
    Cancel,
    Expired,
    Lost,
    Placed,
    Refusal,
    Reported,
    RunState,
    Step,
    advance,
    diagram,
)

FAILURES = st.builds(Failure, st.sampled_from(get_args(FailureClass)), st.just("because"))
ATTEMPTS = st.sampled_from([AttemptId(f"a{n}") for n in range(4)])
EVENTS = st.one_of(
    st.builds(Placed, ATTEMPTS, st.just(MachineId("m"))),
    st.builds(Reported, ATTEMPTS, st.integers(1, 6), st.sampled_from(get_args(ReportedStatus)), st.none() | FAILURES),
    st.builds(Lost, ATTEMPTS, FAILURES),
    st.just(Cancel()),
    st.builds(Expired, st.just("late"), st.none() | ATTEMPTS),
)


@settings(max_examples=500)
@given(st.lists(EVENTS, max_size=40), st.integers(1, 5))
def test_any_sequence_of_events_keeps_the_promises(events: list, limit: int) -> None:
    """Revisions grow by one, terminal statuses never change, refusals change nothing, moves are in the table."""
    state = RunState("not-started", max_attempts=limit)
    for event in events:
        answer = advance(state, event)
        if isinstance(answer, Refusal):
            assert answer.reason
            continue
        assert state.status not in TERMINAL
        assert answer.state.revision == state.revision + 1
        allowed = {target for targets in TRANSITIONS[state.status].values() for target in targets}
        assert answer.state.status in allowed
        if isinstance(event, Reported):
            assert event.attempt_id == state.attempt_id
            assert event.seq > state.sequence
        assert (answer.ended_attempt is not None) == (
            state.status in HELD and answer.state.status in TERMINAL | {"not-started"}
        )
        state = answer.state
    assert state.attempts <= FORGIVEN


@given(st.lists(EVENTS, max_size=30))
def test_replaying_everything_changes_nothing_more(events: list) -> None:
    """Once a run has ended, the same events again, in any order, are all refused."""
    state = RunState("not-started")
    for event in [*events, Cancel()]:
        answer = advance(state, event)
        state = answer.state if isinstance(answer, Step) else state
    assert state.status in TERMINAL
    assert all(isinstance(advance(state, event), Refusal) for event in events)


@given(st.sampled_from(get_args(FailureClass)), st.integers(1, 60), st.integers(1, 60), st.integers(1, 10))
def test_retries_are_bounded(kind: FailureClass, attempts: int, faults: int, limit: int) -> None:
    """No class of failure is tried for ever; a run's own limit holds where the run is to blame; delays are bounded."""
    faults = min(faults, attempts)
    decision = after(Failure(kind, "x"), attempts, faults, limit)
    if attempts >= FORGIVEN or (ALLOWED[kind] is not None and faults >= limit):
        assert isinstance(decision, Fail)
    if not isinstance(decision, Fail):
        assert 0 <= decision.delay_s <= 30


@given(st.sampled_from(get_args(FailureClass)))
def test_a_run_without_a_second_attempt_fails_with_its_first(kind: FailureClass) -> None:
    """Whoever is to blame."""
    assert isinstance(after(Failure(kind, "x"), 1, 0, 0), Fail)


def test_what_a_machine_is_to_blame_for_does_not_use_up_a_runs_attempts() -> None:
    """After a lost machine and a restarted agent, the first crash of an executor is still only the first fault."""
    state = RunState("not-started", max_attempts=2)
    for number, kind in enumerate(["machine_lost", "agent_restarted", "executor_crashed", "machine_lost"]):
        attempt = AttemptId(f"a{number}")
        for event in (Placed(attempt, MachineId("m")), Lost(attempt, Failure(kind, "gone"))):
            step = advance(state, event)
            assert isinstance(step, Step)
            state = step.state
        assert state.status == "not-started"
    assert (state.attempts, state.faults) == (4, 1)


def test_the_table_is_whole() -> None:
    """Every status has its row, only terminal ones are empty, and every target is a status."""
    assert set(TRANSITIONS) == set(STATUSES)
    for status, triggers in TRANSITIONS.items():
        assert (not triggers) == (status in TERMINAL)
        assert all(target in STATUSES for targets in triggers.values() for target in targets)


def test_the_diagram_shows_every_move() -> None:
    """Each pair of statuses in the table is one edge of the diagram."""
    text = diagram()
    for status, triggers in TRANSITIONS.items():
        for target in {target for targets in triggers.values() for target in targets}:
            assert f"{status.replace('-', '_')} --> {target.replace('-', '_')} :" in text


class Fleet(RuleBasedStateMachine):
    """A run, honest and stale agents, a watcher and a client, interleaved as Hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.run = RunState("not-started", max_attempts=3)
        self.sent: dict[AttemptId, int] = {}
        self.endings: list[str] = []

    def apply(self, event: object) -> Step | Refusal:
        """Ask, and take over what was accepted."""
        before = self.run
        answer = advance(self.run, event)  # type: ignore[arg-type]
        if isinstance(answer, Step):
            self.run = answer.state
            if self.run.status in TERMINAL:
                self.endings.append(self.run.status)
        else:
            assert self.run is before
        return answer

    @precondition(lambda self: self.run.status == "not-started")
    @rule()
    def place(self) -> None:
        """The scheduler gives the run to a machine."""
        attempt = AttemptId(f"a{len(self.sent)}")
        self.sent[attempt] = 0
        assert isinstance(self.apply(Placed(attempt, MachineId("m"))), Step)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), status=st.sampled_from(get_args(ReportedStatus)), failure=FAILURES)
    def report(self, data: st.DataObject, status: ReportedStatus, failure: Failure) -> None:
        """Some attempt, perhaps long replaced, reports its next event."""
        attempt = data.draw(st.sampled_from(sorted(self.sent)))
        self.sent[attempt] += 1
        answer = self.apply(Reported(attempt, self.sent[attempt], status, failure))
        if isinstance(answer, Step):
            assert attempt == list(self.sent)[-1]

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), failure=FAILURES)
    def lose(self, data: st.DataObject, failure: Failure) -> None:
        """The watcher gives an attempt up."""
        self.apply(Lost(data.draw(st.sampled_from(sorted(self.sent))), failure))

    @rule()
    def cancel(self) -> None:
        """The client loses patience."""
        self.apply(Cancel())

    @invariant()
    def ends_at_most_once(self) -> None:
        """There is never a second ending."""
        assert len(self.endings) <= 1
        assert (self.run.status in TERMINAL) == bool(self.endings)

    @invariant()
    def is_held_by_the_newest_attempt(self) -> None:
        """Only the newest attempt ever holds the run, and only while the status says so."""
        if self.run.status in HELD:
            assert self.run.attempt_id == list(self.sent)[-1]
        if self.run.status == "not-started":
            assert self.run.attempt_id is None


TestFleet = Fleet.TestCase


def test_an_unclaimed_attempt_cannot_run() -> None:
    """Without its claim, seq 1, an attempt may end badly but neither run nor succeed."""
    placed = advance(RunState("not-started"), Placed(AttemptId("a"), MachineId("m")))
    assert isinstance(placed, Step)
    for status in ("running", "uploading", "success"):
        refused = advance(placed.state, Reported(AttemptId("a"), 2, status))
        assert isinstance(refused, Refusal)
        assert refused.stop
    failed = advance(placed.state, Reported(AttemptId("a"), 2, "failed", Failure("agent_restarted", "killed")))
    assert isinstance(failed, Step)
    assert failed.state.status == "not-started"


def test_a_node_error_ends_the_run_at_once() -> None:
    """What the workflow is to blame for is not tried again; what a machine is to blame for is."""
    held = RunState("running", 4, 1, 3, AttemptId("a"), MachineId("m"), 2)
    ended = advance(held, Reported(AttemptId("a"), 3, "failed", Failure("node_error", "boom")))
    assert isinstance(ended, Step)
    assert (ended.state.status, ended.state.failure) == ("failed", Failure("node_error", "boom"))
    again = advance(held, Reported(AttemptId("a"), 3, "failed", Failure("executor_crashed", "signal 9")))
    assert isinstance(again, Step)
    assert again.state == replace(
        held,
        status="not-started",
        revision=5,
        attempt_id=None,
        sequence=0,
        failure=Failure("executor_crashed", "signal 9"),
        delay_s=0.5,
        faults=1,
    )
