"""The loop that tells of progress those webhooks that asked for it: the newest of each run, now and then.

Progress is never stored, so neither are these messages: one that does not arrive is followed by the next, and the
change of status that ends the run comes by the outbox (notify.py). Each replica tells of what its own machines do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from drivers import egress
from orchestrator.live.hub import Hub
from orchestrator.runs.webhooks import signed_headers, webhook_secret
from orchestrator.store import webhooks as store
from orchestrator.store.ids import new_id
from orchestrator.wire import ProgressEvent

if TYPE_CHECKING:
    import aiohttp

    from orchestrator.config import Config
    from orchestrator.store.db import Database
    from orchestrator.store.webhooks import Curious

log = structlog.get_logger("progress")

AT_ONCE: Final = 16
TIMEOUT_S: Final = 5.0

Body = Callable[[str, str, ProgressEvent], bytes]
"""(run id, status, progress) -> the message."""


class TellProgress:
    """One for each process; close() it at the end."""

    def __init__(self, db: Database, hub: Hub, config: Config, master: bytes, body: Body) -> None:
        self._db = db
        self._hub = hub
        self._private = config.webhook_private
        self._master = master
        self._body = body
        self._session: aiohttp.ClientSession | None = None
        self._told: dict[str, ProgressEvent] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def tick(self) -> bool:
        """Send what is new of each run whose webhook wants it and that has no message under way."""
        newest = {event.run_id: event for event in self._hub.newest()}
        self._told = {run_id: event for run_id, event in self._told.items() if run_id in newest}
        fresh = [run_id for run_id, event in newest.items() if self._told.get(run_id) is not event]
        free = [run_id for run_id in fresh if run_id not in self._tasks]
        for run in await store.curious(self._db, free) if free else []:
            if len(self._tasks) >= AT_ONCE:
                break
            task = asyncio.create_task(self._send(run, newest[run.run_id]), name=f"progress of {run.run_id}")
            self._tasks[run.run_id] = task
            task.add_done_callback(partial(self._finished, run.run_id))
        self._told |= {run_id: newest[run_id] for run_id in free}
        return False

    async def close(self) -> None:
        """Drop what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _finished(self, run_id: str, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(run_id, None)

    async def _send(self, run: Curious, event: ProgressEvent) -> None:
        if self._session is None:
            self._session = egress.guarded_session(self._private, TIMEOUT_S, connections=AT_ONCE)
        body = self._body(run.run_id, run.status, event)
        secret = webhook_secret(self._master, run.organisation_id, 1)
        headers = signed_headers(secret, new_id(), datetime.now(UTC), body)
        try:
            await egress.post(self._session, run.url, body, headers, allow_private=self._private)
        except (egress.Refused, egress.Undelivered) as error:
            log.info("progress not told", run=run.run_id, error=str(error))
