"""The one event stream a page holds open: "changed" when its rows have, "progress" of runs under way, "alive" else.

It reads the hub and, for machines, a short stamp from the database; it never holds a connection while it waits. What
changed is not said: the page is fetched again, so a missed event costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.response import Stream

from orchestrator.dashboard.desk import Desk, uuid_of
from orchestrator.errors import NotFound
from orchestrator.live.hub import Subscription, TooSlow
from orchestrator.store import overview
from orchestrator.store.db import DatabaseUnavailable
from orchestrator.wire import ProgressEvent

PATH: Final = "/dashboard/stream"
ALIVE_S: Final = 15.0
LOOK_S: Final = 1.0
APART_S: Final = 0.15
STAMP_S: Final = 2.0
LIFE_S: Final = 600.0  # then the browser connects again, with a login that is still good
CHANGED: Final = b"event: changed\ndata: 1\n\n"
ALIVE: Final = b"event: alive\ndata: 1\n\n"


@get(PATH, include_in_schema=False)
async def stream_page(
    request: Request[Any, Any, Any], desk: Desk, runs: int = 0, machines: int = 0, run: str = ""
) -> Stream:
    """Follow one run, every run, the machines, or several of these."""
    if run and await overview.run(desk.db, desk.organisation_id, uuid_of(run)) is None:
        raise NotFound("There is no such run.")
    follow = Follow(desk, request.app.state.draining, run or None, runs=bool(runs), machines=bool(machines))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(follow.chunks(), media_type="text/event-stream", headers=headers)


class Follow:
    """One open stream. draining ends it, as does a reader too slow for it."""

    def __init__(self, desk: Desk, draining: asyncio.Event, run_id: str | None, *, runs: bool, machines: bool) -> None:
        self._desk = desk
        self._draining = draining
        self._run_id = run_id
        self._runs = runs or run_id is not None
        self._machines = machines
        self._stamp: str | None = None
        self._stamp_at = 0.0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The stream's bytes. The first event follows the subscription, so nothing falls between page and stream."""
        end = time.monotonic() + LIFE_S
        with self._desk.hub.subscribe(self._desk.organisation_id, self._run_id) as subscription:
            await self._stamp_changed()  # before the page is told to look, so that nothing falls between
            yield b"retry: 1000\n\n" + CHANGED
            quiet_since = time.monotonic()
            while not self._draining.is_set() and time.monotonic() < end:
                try:
                    chunk = await self._next(subscription)
                except TooSlow:
                    return
                if not chunk and time.monotonic() - quiet_since >= ALIVE_S:
                    chunk = ALIVE
                if chunk:
                    quiet_since = time.monotonic()
                    yield chunk
                    await asyncio.sleep(APART_S)

    async def _next(self, subscription: Subscription) -> bytes:
        """What happened within LOOK_S: any number of changes are one."""
        changed = False
        parts: list[bytes] = []
        event = await subscription.next(LOOK_S)
        while event is not None:
            if isinstance(event, ProgressEvent):
                parts.append(b"event: progress\ndata: " + msgspec.json.encode(event) + b"\n\n")
            else:
                changed = True
            event = await subscription.next(0) if len(parts) < 1000 else None
        if not self._runs:
            changed, parts = False, []
        if await self._stamp_changed() or changed:
            parts.append(CHANGED)
        return b"".join(parts)

    async def _stamp_changed(self) -> bool:
        """Whether the rows themselves differ: machines, new runs, and what another replica changed."""
        if time.monotonic() - self._stamp_at < STAMP_S:
            return False
        self._stamp_at = time.monotonic()
        try:
            stamp = await self._read_stamp()
        except DatabaseUnavailable:
            return False
        before, self._stamp = self._stamp, stamp
        return before is not None and before != stamp

    async def _read_stamp(self) -> str:
        db, organisation_id = self._desk.db, self._desk.organisation_id
        runs = await overview.runs_stamp(db, organisation_id, self._run_id) if self._runs else ""
        machines = await overview.machines_stamp(db, organisation_id) if self._machines else ""
        return f"{runs} {machines}"
