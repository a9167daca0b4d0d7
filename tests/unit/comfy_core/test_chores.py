"""What the worker does some time after runs."""

from __future__ import annotations

import time

from comfy_core.worker import CHORES_SHARE, Chore


def test_a_chore_is_done_once_for_all_the_runs_before_it_and_not_again_at_once() -> None:
    """Not when there was no run, and after the next one only when its time has come."""
    done: list[float] = []
    chore = Chore(lambda: done.append(time.monotonic()), 0.05)
    chore.look()
    assert done == []
    chore.due = True
    chore.look()
    chore.look()
    assert len(done) == 1
    chore.due = True
    chore.look()
    assert len(done) == 1
    while len(done) < 2:
        chore.look()
    assert done[1] - done[0] >= 0.05
    assert not chore.due


def test_a_chore_that_takes_long_is_done_rarely() -> None:
    """A hundredth of the time is the most it takes."""
    done: list[float] = []

    def slow() -> None:
        time.sleep(0.005)
        done.append(time.monotonic())

    chore = Chore(slow, 0.0, due=True)
    chore.look()
    chore.due = True
    while len(done) < 2:
        chore.look()
    assert done[1] - done[0] >= 0.005 / CHORES_SHARE
