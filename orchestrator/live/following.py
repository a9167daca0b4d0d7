"""A run followed from a revision until its end, and the wait for that end: for streams and waits of every API.

The database is the truth: it is asked first, when a change was missed, and now and then. It knows no wire format.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from orchestrator.errors import TooMany
from orchestrator.live.hub import Hub, LiveEvent, Subscription, TooSlow
from orchestrator.runs.state import TERMINAL
from orchestrator.store import runs
from orchestrator.store.db import Database
from orchestrator.wire import RunEvent

RECHECK_S: Final = 2.0
KEEP_ALIVE_S: Final = 15.0
MOST_WATCHERS: Final = 1000


def check_room(hub: Hub, organisation_id: str) -> None:
    """Raise TooMany when so many streams and waits of the organisation are open here that there must be no more."""
    if hub.watchers(organisation_id) >= MOST_WATCHERS:
        detail = f"{MOST_WATCHERS} streams and waits of this organisation are open: end some, or use webhooks"
        raise TooMany(detail, code="too_many_streams", retry_after_s=5)


async def follow(
    db: Database,
    hub: Hub,
    organisation_id: str,
    run_id: str,
    *,
    after: int,
    draining: asyncio.Event,
    logs: bool = False,
    previews: bool = False,
) -> AsyncGenerator[LiveEvent | None]:
    """What happened after the revision, then what happens, until the run has ended or the server drains.

    None means: nothing for KEEP_ALIVE_S. logs: the lines of its executor too; previews: its pictures. The caller
    has checked whose run it is.
    """
    with hub.subscribe(organisation_id, run_id, logs=logs, previews=previews) as subscription:
        quiet = 0.0
        stored = await runs.events_after(db, organisation_id, run_id, after)
        while not draining.is_set():
            for event in stored:
                after, quiet = event.revision, 0.0
                yield event
                if event.status in TERMINAL:
                    return
            changes, live = await _next(subscription, after)
            stored = await runs.events_after(db, organisation_id, run_id, after) if changes is None else changes
            if live is not None:
                yield live
            elif not stored and (quiet := quiet + RECHECK_S) >= KEEP_ALIVE_S:
                quiet = 0.0
                yield None


async def _next(subscription: Subscription, after: int) -> tuple[list[RunEvent] | None, LiveEvent | None]:
    """The next change or whatever else is live; None instead of changes means: ask the database."""
    try:
        live = await subscription.next(RECHECK_S)
    except TooSlow:
        return None, None
    if live is not None and not isinstance(live, RunEvent):
        return [], live
    if live is None or live.revision > after + 1:
        return None, None
    return ([live] if live.revision > after else []), None


async def ended(
    db: Database, hub: Hub, organisation_id: str, run_id: str, within_s: float, draining: asyncio.Event
) -> bool:
    """Whether the run ends within so many seconds; returns as soon as it has."""
    try:
        async with (
            asyncio.timeout(within_s),
            aclosing(follow(db, hub, organisation_id, run_id, after=0, draining=draining)) as events,
        ):
            async for event in events:
                if isinstance(event, RunEvent) and event.status in TERMINAL:
                    return True
    except TimeoutError:
        return False
    return False
