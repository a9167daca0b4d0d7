"""Which kinds of machine have a driver, and what those without one say."""

from __future__ import annotations

from typing import get_args

import pytest

from drivers.registry import ABSENT, DRIVERS, driver_class, why_absent
from orchestrator.wire import MachineKind


def test_every_kind_of_the_public_wire_has_a_driver_or_a_reason():
    """No kind is forgotten, and none is both there and absent."""
    kinds = set(get_args(MachineKind))
    assert DRIVERS.keys() | ABSENT.keys() == kinds
    assert not DRIVERS.keys() & ABSENT.keys()


@pytest.mark.parametrize("kind", sorted(DRIVERS))
def test_a_driver_that_stands_can_be_made(kind):
    """Its class is found under the name in the registry, takes no argument, and nothing speaks against its kind."""
    assert why_absent(kind) is None
    driver = driver_class(kind)()
    assert driver.reachable() == set()
    assert driver.capabilities is driver_class(kind).capabilities


@pytest.mark.parametrize("kind", sorted(ABSENT))
def test_an_absent_driver_says_which_file_it_would_be(kind):
    """The reason names the room that waits for it; there is no class to get."""
    reason = why_absent(kind)
    assert reason is not None
    assert "drivers/" in reason
    with pytest.raises(KeyError):
        driver_class(kind)


def test_an_unknown_kind_is_said_to_be_none():
    """A kind nobody heard of has a reason too."""
    assert why_absent("abacus") == "no such machine kind"
