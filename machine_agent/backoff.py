"""How long to wait before trying again: doubling, jittered, capped. It knows neither what is tried nor the clock."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds: each between half and all of `first`, 2 x first, 4 x first ... up to `cap`."""

    def __init__(self, first: float = 0.2, cap: float = 5.0) -> None:
        self._first = first
        self._cap = cap
        self._tries = 0

    def next(self) -> float:
        """The next delay; each call makes the following one longer."""
        whole = min(self._cap, self._first * float(2 ** min(self._tries, 16)))
        self._tries += 1
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret

    def reset(self) -> None:
        """Start again from the shortest delay."""
        self._tries = 0
