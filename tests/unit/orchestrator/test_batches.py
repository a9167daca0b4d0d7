"""What a batch makes of its inputs, and what a caller's headers ask for."""

from __future__ import annotations

import pytest

from orchestrator.errors import Invalid
from orchestrator.runs.batches import MOST_RUNS, spread
from orchestrator.runs.preferences import LONGEST_WAIT_S, wait_s, wants_stream


def test_a_list_makes_a_run_each_over_what_is_common() -> None:
    """A run's own input goes over the common one."""
    assert spread([{"a": 1}, {"b": 2}], None, {"a": 0}) == [{"a": 1}, {"a": 0, "b": 2}]


def test_a_grid_makes_every_combination() -> None:
    """The last axis turns fastest; the common inputs are in each."""
    made = spread(None, {"seed": [1, 2], "size": ["s", "l"]}, {"x": True})
    assert [(run["seed"], run["size"]) for run in made] == [(1, "s"), (1, "l"), (2, "s"), (2, "l")]
    assert all(run["x"] is True for run in made)


@pytest.mark.parametrize(
    ("inputs", "grid", "said"),
    [
        (None, None, "exactly one"),
        ([{}], {"a": [1]}, "exactly one"),
        ([], None, "makes 0 runs"),
        ([{}] * (MOST_RUNS + 1), None, "makes 1001 runs"),
        (None, {}, "makes 0 runs"),
        (None, {"a": [1], "b": []}, "makes 0 runs"),
        (None, {"a": list(range(1000)), "b": list(range(1000)), "c": list(range(1000))}, "makes 1000000000 runs"),
        (None, {str(axis): [0] for axis in range(17)}, "at most 16"),
    ],
)
def test_what_makes_no_batch_is_refused_before_it_is_spread(inputs: object, grid: object, said: str) -> None:
    """Nothing, both, none and too many runs, told with the field; a huge grid costs nothing."""
    with pytest.raises(Invalid, match=said) as refusal:
        spread(inputs, grid, {})  # type: ignore[arg-type]
    assert refusal.value.errors[0].code == "wrong_batch"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("respond-async", None),
        ("wait=10", 10.0),
        ('respond-async, wait="5"', 5.0),
        ("Wait = 7; foo=bar", 7.0),
        ("wait=0", 0.0),
        ("wait=99999", LONGEST_WAIT_S),
        ("wait=soon", None),
        ("wait=-1", None),
        ("await=3", None),
    ],
)
def test_the_wait_that_a_caller_prefers(header: str | None, seconds: float | None) -> None:
    """RFC 7240's wait, bounded; what cannot be read is no preference."""
    assert wait_s(header) == seconds


def test_who_wants_a_stream() -> None:
    """An Accept header that names event streams, among others or with parameters; anything else does not."""
    assert wants_stream("text/event-stream")
    assert wants_stream("application/json;q=0.1, Text/Event-Stream; charset=utf-8")
    assert not wants_stream("*/*")
    assert not wants_stream(None)
