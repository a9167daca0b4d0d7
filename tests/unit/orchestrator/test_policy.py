"""Which node classes a policy lets run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.policy import LISTED, errors_of, forbidden
from orchestrator.wire import NodePolicy

CLASSES = ["KSampler", "LoadImage", "LoadImageMask", "ShellExec"]


@pytest.mark.parametrize(
    ("allow", "deny", "refused"),
    [
        ([], [], []),
        ([], ["ShellExec"], ["ShellExec"]),
        ([], ["Load*"], ["LoadImage", "LoadImageMask"]),
        (["KSampler", "Load*"], [], ["ShellExec"]),
        (["*"], ["LoadImage"], ["LoadImage"]),
        (["KSampler"], ["KSampler"], CLASSES),
        (["KS"], [], CLASSES),
    ],
)
def test_deny_goes_before_allow_and_a_star_stands_for_any_rest(allow, deny, refused) -> None:
    """Exact names, names with a star, both lists, neither."""
    assert forbidden(NodePolicy(allow=allow, deny=deny), CLASSES) == refused


@given(st.sets(st.text(min_size=1, max_size=5)), st.sets(st.text(min_size=1, max_size=5)))
def test_what_is_denied_never_runs(classes: set[str], deny: set[str]) -> None:
    """Whatever else a policy says, a denied name is among the refused."""
    found = forbidden(NodePolicy(allow=["*"], deny=sorted(deny)), classes)
    assert set(found) >= classes & deny
    assert found == sorted(found)


def test_a_long_list_is_cut() -> None:
    """Errors name each class, up to a bound."""
    assert [error.path for error in errors_of(["A", "B"])] == ["nodes.A", "nodes.B"]
    assert len(errors_of([str(number) for number in range(1000)])) == LISTED
