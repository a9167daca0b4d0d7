"""The loop that tells others: takes due messages from the outbox and posts them, signed, to their receivers.

A turn claims and starts sends; it does not wait for them, so that a receiver that is slow or dead delays nobody else:
each receiver has a few places of its own, and receivers take turns. No transaction is open while a message is out.
Whether and when to try again is decided in `runs/webhooks.py`. This file does not know how a run is loaded.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from drivers import egress
from orchestrator.runs.webhooks import (
    Again,
    Answered,
    Dead,
    Decision,
    Delivered,
    after,
    message_body,
    signed_headers,
    webhook_secret,
)
from orchestrator.store import webhooks as store
from orchestrator.store.webhooks import Due, Try

if TYPE_CHECKING:
    import aiohttp

    from orchestrator.config import Config
    from orchestrator.store.db import Database
    from orchestrator.wire import Run

log = structlog.get_logger("notify")

LoadRun = Callable[[str, str], "Awaitable[Run | None]"]
"""(organisation id, run id) -> the run as a webhook shows it, with signed output URLs once it has ended."""

ForeignBody = Callable[[str, str, str, str], "Awaitable[bytes | None]"]
"""(organisation id, run id, status, event type) -> the message in another API's words; None: the run is gone."""

OVERALL: Final = 64
PER_RECEIVER: Final = 4
LEASE_MARGIN_S: Final = 45.0
CLOSE_S: Final = 2.0
ERROR_LENGTH: Final = 500


async def _no_dialect(_organisation_id: str, _run_id: str, _status: str, _event_type: str) -> bytes | None:
    """Nobody asked for another API's words."""
    return None


def _nobody() -> None:
    """No loop to wake."""


class Notify:
    """Sends due messages. `wake` is called when a place becomes free (ring the loop's bell); close() it at the end."""

    def __init__(
        self,
        db: Database,
        config: Config,
        master: bytes,
        load_run: LoadRun,
        *,
        foreign: ForeignBody = _no_dialect,
        session: aiohttp.ClientSession | None = None,
        wake: Callable[[], None] = _nobody,
    ) -> None:
        self._db = db
        self._private = config.webhook_private
        self._timeout_s = config.webhook_timeout_s
        self._master = master
        self._load_run = load_run
        self._foreign = foreign
        self._session = session
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._flying: Counter[str] = Counter()
        self._served: set[str] = set()  # receivers that had their turn in this round

    async def tick(self) -> bool:
        """Claim what is due and start sending it. True: another turn may find more."""
        free = OVERALL - len(self._tasks)
        if free <= 0:
            return False
        messages = await store.due(
            self._db,
            free,
            lease_s=self._timeout_s + LEASE_MARGIN_S,
            per_key=PER_RECEIVER,
            flying=dict(self._flying),
            skip=self._served,
        )
        if not messages:
            round_over = bool(self._served)
            self._served.clear()
            return round_over
        for message in messages:
            self._start(message)
        return True

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Give what is under way a moment, drop the rest (its lease brings it back), and release connections."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CLOSE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _start(self, message: Due) -> None:
        self._served.add(message.key)
        self._flying[message.key] += 1
        task = asyncio.create_task(self._send_and_record(message), name=f"webhook {message.id}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(done, message.key))

    def _finished(self, task: asyncio.Task[None], key: str) -> None:
        self._tasks.discard(task)
        self._flying[key] -= 1
        if self._flying[key] <= 0:
            del self._flying[key]
        self._wake()

    async def _send_and_record(self, message: Due) -> None:
        try:
            made, decision = await self._send(message)
            await store.record(self._db, message, made, decision)
        except Exception as error:  # noqa: BLE001  one message's bad turn; its lease brings it back
            log.warning("webhook turn failed", webhook_id=message.id, run_id=message.run_id, error=repr(error))
            return
        outcome = {Delivered: "delivered", Again: "again", Dead: "dead"}[type(decision)]
        log.info(
            "webhook tried",
            webhook_id=message.id,
            run_id=message.run_id,
            outcome=outcome,
            code=made.response_code,
            error=made.error,
        )

    async def _send(self, message: Due) -> tuple[Try, Decision]:
        if message.url is None or message.disabled:
            reason = "the endpoint is disabled" if message.disabled else "the run has no URL any more"
            return Try(message.url or "", None, reason, 0), Dead()
        body = await self._body(message)
        if body is None:
            return Try(message.url, None, "the run is gone", 0), Dead()
        secret = webhook_secret(self._master, message.subject, message.secret_generation)
        made, answered = await self._post(message, message.url, body, secret)
        roll = random.random()  # noqa: S311  jitter, not a secret
        return made, after(answered, message.tries + 1, roll, datetime.now(UTC))

    async def _body(self, message: Due) -> bytes | None:
        """None: the run is gone."""
        if message.shape is not None:
            return await self._foreign(message.organisation_id, message.run_id, message.status, message.event_type)
        run = await self._load_run(message.organisation_id, message.run_id)
        return None if run is None else message_body(message.event_type, message.created_at, run)

    async def _post(self, message: Due, url: str, body: bytes, secret: str) -> tuple[Try, Answered]:
        headers = signed_headers(secret, message.id, datetime.now(UTC), body)
        started = time.monotonic()
        try:
            answer = await egress.post(self._open(), url, body, headers, allow_private=self._private)
        except (egress.Refused, egress.Undelivered) as error:
            text = f"refused: {error}" if isinstance(error, egress.Refused) else str(error)
            duration_ms = int((time.monotonic() - started) * 1000)
            return Try(url, None, text[:ERROR_LENGTH], duration_ms), Answered(None)
        made = Try(url, answer.code, egress.complaint(answer), answer.duration_ms)
        return made, Answered(answer.code, answer.retry_after)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = egress.guarded_session(self._private, self._timeout_s, connections=OVERALL)
        return self._session
