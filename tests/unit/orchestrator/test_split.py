"""Which version of a deployment a run gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.split import pick
from orchestrator.store.ids import new_id


@given(st.text(max_size=40), st.lists(st.integers(1, 33), max_size=3))
def test_the_runs_id_decides(run_id: str, shares: list[int]) -> None:
    """The same run gets the same version, always one of those there are."""
    others = [(f"v{place}", share) for place, share in enumerate(shares)]
    chosen = pick(run_id, "main", others)
    assert chosen == pick(run_id, "main", others)
    assert chosen in {"main", *(name for name, _ in others)}


def test_shares_are_kept() -> None:
    """Of ten thousand runs each version gets its percent, give or take two; a hundred percent is all."""
    runs = [new_id() for _ in range(10_000)]
    got = [pick(run_id, "main", [("a", 10), ("b", 30)]) for run_id in runs]
    assert abs(got.count("a") - 1_000) < 200
    assert abs(got.count("b") - 3_000) < 200
    assert {pick(run_id, "main", [("a", 100)]) for run_id in runs} == {"a"}
    assert {pick(run_id, "main", []) for run_id in runs[:10]} == {"main"}


def test_a_larger_share_keeps_the_runs_of_the_smaller() -> None:
    """Raising the share of the only other version takes runs from main, and gives none back."""
    for run_id in (new_id() for _ in range(500)):
        if pick(run_id, "main", [("a", 10)]) == "a":
            assert pick(run_id, "main", [("a", 50)]) == "a"
