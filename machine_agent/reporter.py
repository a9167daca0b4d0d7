"""Tells the orchestrator what became of attempts: one lane, in sequence, until each event is acknowledged.

It knows `POST /api/update-run` and the spool, not what the events mean to a slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import msgspec
import structlog

from drivers.wire import AttemptId, Event, EventResult, Failure, UpdateRun, UpdateRunReply
from machine_agent.backoff import Backoff
from machine_agent.identity import reason_of
from machine_agent.spool import Spool

_BATCH = 200
_REVOKED_S = 30.0
_Key = tuple[AttemptId, int]
_log = structlog.get_logger()


class _Trouble(Exception):
    """The batch did not get through this time; `wait` overrides the usual delay."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class _Unacceptable(Exception):
    """The orchestrator will not take a batch like this one."""


class Reporter:
    """Sends spooled events. `on_stop` is called with an attempt that the orchestrator has taken away, and why."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        credential: str,
        spool: Spool,
        on_stop: Callable[[AttemptId, str], None],
    ) -> None:
        self._session = session
        self._url = f"{url}/api/update-run"
        self._headers = {"Authorization": f"Bearer {credential}", "Content-Type": "application/json"}
        self._spool = spool
        self._on_stop = on_stop
        self._waiting: dict[_Key, Event] = {}
        self._verdicts: dict[_Key, asyncio.Future[EventResult]] = {}
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def resume(self, events: list[Event]) -> None:
        """Take over events that are on disk already."""
        for event in events:
            self._enqueue(event)

    async def report(self, event: Event) -> asyncio.Future[EventResult]:
        """Put the event on disk and in line; the future holds its verdict, however long that takes.

        Cancelling the caller does not undo it: the event is then on disk and in line all the same.
        """
        return await asyncio.shield(asyncio.ensure_future(self._store(event)))

    async def abandon(self, attempt_id: AttemptId) -> None:
        """Say nothing more about an attempt."""
        await self._spool.abandon(attempt_id)
        self._drop(attempt_id)

    async def flushed(self) -> None:
        """Wait until nothing is in line."""
        await self._empty.wait()

    async def run(self) -> None:
        """Send for ever. Whatever is in line goes with the next request."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            batch = list(self._waiting.values())[:_BATCH]
            if not batch:
                self._wake.clear()
                continue
            try:
                await self._deliver(batch)
                backoff.reset()
            except _Trouble as trouble:
                delay = trouble.wait or backoff.next()
                _log.warning("report_retry", events=len(batch), error=str(trouble), wait_s=round(delay, 2))
                await asyncio.sleep(delay)

    async def _store(self, event: Event) -> asyncio.Future[EventResult]:
        await self._spool.append(event)
        verdict: asyncio.Future[EventResult] = asyncio.get_running_loop().create_future()
        self._verdicts[event.attempt_id, event.seq] = verdict
        self._enqueue(event)
        return verdict

    def _enqueue(self, event: Event) -> None:
        self._waiting[event.attempt_id, event.seq] = event
        self._empty.clear()
        self._wake.set()

    def _drop(self, attempt_id: AttemptId) -> None:
        for key in [key for key in self._waiting if key[0] == attempt_id]:
            del self._waiting[key]
        for key in [key for key in self._verdicts if key[0] == attempt_id]:
            self._verdicts.pop(key).cancel()
        self._note_empty()

    def _note_empty(self) -> None:
        if not self._waiting:
            self._empty.set()

    async def _deliver(self, batch: list[Event]) -> None:
        """Send a batch; one that is not acceptable is halved until the event to blame stands alone."""
        batch = [event for event in batch if (event.attempt_id, event.seq) in self._waiting]
        if not batch:
            return
        try:
            results = await self._post(batch)
        except _Unacceptable as refusal:
            if len(batch) == 1:
                await self._reject(batch[0], str(refusal))
                return
            middle = len(batch) // 2
            await self._deliver(batch[:middle])
            await self._deliver(batch[middle:])
            return
        for event, result in zip(batch, results, strict=True):
            await self._settle(event, result)

    async def _post(self, batch: list[Event]) -> list[EventResult]:
        body = msgspec.json.encode(UpdateRun(events=batch))
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, timeout=aiohttp.ClientTimeout(total=30)
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _Trouble(str(error) or type(error).__name__) from error
        if response.status in (400, 413, 422):
            raise _Unacceptable(reason_of(answer, response.status))
        if response.status != 200:
            slow = _REVOKED_S if response.status in (401, 403) else None
            raise _Trouble(reason_of(answer, response.status), slow)
        try:
            results = msgspec.json.decode(answer, type=UpdateRunReply).results
        except msgspec.MsgspecError as error:
            raise _Trouble(f"unreadable answer: {error}") from error
        if [(r.attempt_id, r.seq) for r in results] != [(e.attempt_id, e.seq) for e in batch]:
            raise _Trouble("the answer does not match the events")
        return results

    async def _settle(self, event: Event, result: EventResult) -> None:
        key = (event.attempt_id, event.seq)
        if self._waiting.pop(key, None) is None:
            return  # abandoned while the request was under way
        verdict = self._verdicts.pop(key, None)
        if verdict is not None and not verdict.done():
            verdict.set_result(result)
        if result.stop:
            _log.info("attempt_taken_away", attempt=event.attempt_id, verdict=result.verdict, reason=result.reason)
            self._on_stop(event.attempt_id, result.reason or result.verdict)
            await self.abandon(event.attempt_id)
        else:
            self._spool.acknowledge(event)
        self._note_empty()

    async def _reject(self, event: Event, reason: str) -> None:
        """Put a poison event aside; its attempt ends as failed in its place, so that the run does not hang."""
        _log.error("event_rejected", attempt=event.attempt_id, seq=event.seq, status=event.status, reason=reason)
        await self._spool.set_aside(event)
        self._on_stop(event.attempt_id, reason)
        self._drop(event.attempt_id)
        if event.status == "failed":
            await self._spool.abandon(event.attempt_id)
            return
        failure = Failure(
            kind="internal", message=f"the orchestrator refused the report '{event.status}': {reason}"[:500]
        )
        await self.report(Event(event.run_id, event.attempt_id, event.token, event.seq, "failed", failure=failure))
