"""The one shared runner of the background loops: tick, wait for a wake-up or the poll, tick again.

A tick that fails is logged and tried again with a growing pause; it never ends the loop. The runner knows nothing of
what a tick does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from msgspec import Struct

log = structlog.get_logger("loops")

Tick = Callable[[], Awaitable[bool]]
"""One turn of a loop. True: there may be more to do at once."""

LONGEST_PAUSE_S = 5.0


class Waiter(Protocol):
    """What a loop waits on between ticks."""

    async def wait(self, timeout: float) -> bool:
        """Return when there is a reason to look (True) or after timeout seconds (False)."""


class Bell:
    """A wake-up inside this process: ring() is remembered until the next wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the loop, now or when it next waits."""
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Return True when rung, False after timeout seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Loop(Struct, frozen=True):
    """A named background loop: tick whenever the waiter says so, and every poll_s seconds at the latest."""

    name: str
    tick: Tick
    waiter: Waiter
    poll_s: float


async def run_for_ever(loop: Loop) -> None:
    """Run the loop until it is cancelled."""
    failures = 0
    while True:
        try:
            more = await loop.tick()
            failures = 0
        except Exception as error:  # noqa: BLE001  a loop must never die of one bad turn
            failures += 1
            log.warning("tick failed", loop=loop.name, error=repr(error), failures=failures)
            await asyncio.sleep(min(LONGEST_PAUSE_S, 0.1 * 2**failures) * random.uniform(0.5, 1.0))  # noqa: S311
            continue
        if not more:
            await loop.waiter.wait(loop.poll_s)
