"""Which version of a deployment a run gets, when several share its runs. Pure.

The run's own id decides: the same run asked for again gets the same version, and every replica decides alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

WHOLE = 100
T = TypeVar("T")


def pick(run_id: str, main: T, others: Sequence[tuple[T, int]]) -> T:
    """One of the others, each with its share in percent, or main with what is left of a hundred."""
    if not others:
        return main
    place = int.from_bytes(hashlib.blake2b(run_id.encode(), digest_size=8).digest(), "big") % WHOLE
    for other, percent in others:
        if place < percent:
            return other
        place -= percent
    return main
