"""What one credential may hand on to another, and who decides about members: pure rules."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.access import RANK, Grant, excess, handed_on, why_member_stays
from orchestrator.wire import Resource, Role, Scope

ROLES = st.sampled_from(get_args(Role))
SETS = st.none() | st.frozensets(st.sampled_from("abc"), min_size=1)
GRANTS = st.builds(Grant, ROLES, SETS, SETS)


def _within(inner: frozenset[str] | None, outer: frozenset[str] | None) -> bool:
    return outer is None or (inner is not None and inner <= outer)


@given(GRANTS, GRANTS)
def test_nothing_is_handed_on_that_is_not_held(holder: Grant, other: Grant) -> None:
    """A grant exceeds another exactly when its role, its scopes or its deployments do."""
    fits = (
        RANK[other.role] <= RANK[holder.role]
        and _within(other.scopes, holder.scopes)
        and _within(other.deployment_ids, holder.deployment_ids)
    )
    assert (excess(holder, other) is None) == fits


@given(GRANTS, SETS, SETS)
def test_what_is_left_out_is_the_makers_own(holder: Grant, scopes, deployments) -> None:
    """A key without limits of its own, made by a narrowed key, is as narrow as its maker."""
    grant = handed_on(holder, "playground", scopes, deployments)
    assert grant.scopes == (holder.scopes if scopes is None else scopes)
    assert grant.deployment_ids == (holder.deployment_ids if deployments is None else deployments)
    assert excess(holder, handed_on(holder, holder.role, None, None)) is None


def test_every_resource_has_both_scopes() -> None:
    """Scope names each resource twice: to read and to write."""
    assert set(get_args(Scope)) == {f"{name}:{action}" for name in get_args(Resource) for action in ("read", "write")}


@pytest.mark.parametrize("actor", ["owner", "admin"])
def test_owners_decide_about_owners_and_one_stays(actor: Role) -> None:
    """Of all changes, refused are those about owners by others, and those that leave no owner."""
    for present, wanted, others in product(RANK, [*RANK, None], (0, 1)):
        about_owners = "owner" in (present, wanted)
        leaves_none = present == "owner" and wanted != "owner" and others == 0
        refused = why_member_stays(actor, present, wanted, others) is not None
        assert refused == ((about_owners and actor != "owner") or leaves_none)
