"""Rate limits that replicas share, without a round trip for each request.

A bucket stands in the database. A replica draws tokens from it in portions, ahead of need, and spends them from memory;
so a limit is exact but for the portions that replicas hold unspent. When the database is away, nobody is held up.
It knows neither requests nor users.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from typing import Final

from msgspec import Struct

from orchestrator.store import limits
from orchestrator.store.db import Database
from orchestrator.store.limits import Draw, Drawn
from orchestrator.store.writer import Writer

REMEMBERED: Final = 10_000
LARGEST_PORTION: Final = 1_000
LOGINS: Final = 10
LOGIN_EVERY_S: Final = 6.0
LOGINS_BY_ADDRESS: Final = 60


class Standing(Struct, frozen=True):
    """After an attempt to take one token. wait_s 0: it was taken. reset_s: until the bucket is full again."""

    wait_s: float
    remaining: int
    reset_s: float


class _Purse:
    """What this replica holds of one bucket."""

    __slots__ = ("blocked_until", "drawing", "left", "seen_at", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.left = 0.0
        self.seen_at = 0.0
        self.blocked_until = 0.0
        self.drawing: asyncio.Future[Drawn] | None = None


class Limit:
    """Buckets of one kind: `burst` tokens at once, then `per_s` a second. portion: how many are drawn at a time."""

    def __init__(self, db: Database, burst: int, per_s: float, *, portion: int | None = None) -> None:
        self._db = db
        self._every_s = 1 / per_s
        self._burst = burst
        self._portion = portion or max(1, min(burst // 10, LARGEST_PORTION))
        self._purses: OrderedDict[str, _Purse] = OrderedDict()
        self._writer: Writer[Draw, Drawn] = Writer(self._draw_all, lanes=1)

    @property
    def policy(self) -> str:
        """The parameters of a RateLimit-Policy: its quota and the window in which the quota comes back."""
        return f"q={self._burst};w={math.ceil(self._burst * self._every_s)}"

    def start(self) -> None:
        """Begin to draw. Call within the running loop."""
        self._writer.start()

    async def stop(self) -> None:
        """End."""
        await self._writer.stop()

    async def take(self, name: str) -> Standing:
        """Take one token from the bucket of this name."""
        purse = self._purse(name)
        while purse.tokens <= 0:
            wait = purse.blocked_until - time.monotonic()
            if wait > 0:
                return Standing(wait, 0, self._reset(0))
            await asyncio.wait([purse.drawing or self._draw(name, purse)])
        purse.tokens -= 1
        if purse.tokens < self._portion // 2 and purse.drawing is None:
            self._draw(name, purse)
        remaining = self._remaining(purse)
        return Standing(0.0, remaining, self._reset(remaining))

    async def fill(self, name: str) -> None:
        """Make a bucket full again."""
        self._purses.pop(name, None)
        await limits.fill(self._db, name)

    def _purse(self, name: str) -> _Purse:
        purse = self._purses.get(name)
        if purse is None:
            purse = self._purses[name] = _Purse()
            if len(self._purses) > REMEMBERED:
                self._purses.popitem(last=False)
        return purse

    def _remaining(self, purse: _Purse) -> int:
        gained = (time.monotonic() - purse.seen_at) / self._every_s
        return min(self._burst, int(purse.left + gained) + purse.tokens)

    def _reset(self, remaining: int) -> float:
        return (self._burst - remaining) * self._every_s

    def _draw(self, name: str, purse: _Purse) -> asyncio.Future[Drawn]:
        def settle(done: asyncio.Future[Drawn]) -> None:
            purse.drawing = None
            self._settle(purse, done)

        purse.drawing = self._writer.enqueue(Draw(name, self._portion))
        purse.drawing.add_done_callback(settle)
        return purse.drawing

    def _settle(self, purse: _Purse, done: asyncio.Future[Drawn]) -> None:
        purse.seen_at = time.monotonic()
        if done.cancelled() or done.exception() is not None:
            purse.tokens += self._portion
            return
        drawn = done.result()
        purse.tokens += drawn.granted
        purse.left = self._burst - drawn.till_full_s / self._every_s
        if drawn.granted == 0:
            # Not for every single token: who keeps knocking costs a draw each time.
            worth = max(1, self._portion // 10)
            purse.blocked_until = purse.seen_at + max(self._every_s * (worth - purse.left), 0.001)

    async def _draw_all(self, wanted: list[Draw]) -> list[Drawn]:
        return await limits.draw(self._db, wanted, self._burst, self._every_s)


class Limits:
    """The limits of an installation. requests: of a key, a user, or an address without a credential; None: off.

    guest_runs: of an address that starts runs through public links, in an hour; None: it may not.
    """

    def __init__(self, db: Database, per_s: float, burst: int, guest_runs: int = 0) -> None:
        self.requests = Limit(db, burst, per_s) if per_s > 0 else None
        self.logins = Limit(db, LOGINS, 1 / LOGIN_EVERY_S, portion=1)
        self.logins_by_address = Limit(db, LOGINS_BY_ADDRESS, 1.0, portion=1)
        self.guest_runs = Limit(db, guest_runs, guest_runs / 3600, portion=1) if guest_runs > 0 else None

    def start(self) -> None:
        """Begin to draw. Call within the running loop."""
        for limit in self._all():
            limit.start()

    async def stop(self) -> None:
        """End."""
        for limit in self._all():
            await limit.stop()

    def _all(self) -> list[Limit]:
        limits = (self.requests, self.logins, self.logins_by_address, self.guest_runs)
        return [limit for limit in limits if limit is not None]
