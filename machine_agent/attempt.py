"""One attempt at a run, from the claim to the last event. It knows the order of the steps, not how each is done."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp
import structlog
from msgspec import Struct, structs

from drivers.wire import (
    AttemptId,
    Event,
    EventResult,
    Failure,
    Job,
    Output,
    Preview,
    Progress,
    ReportedStatus,
    Timings,
)
from machine_agent import verdicts
from machine_agent.comfy import Comfy, HistoryEntry, PromptLost, PromptRefused
from machine_agent.errors import Abandoned, AttemptFailed, ExecutorGone
from machine_agent.executor import Executor
from machine_agent.inputs import Inputs, Placed
from machine_agent.progress import Tracker
from machine_agent.reporter import Reporter
from machine_agent.uploads import Made, Uploader, made_by

_EXECUTOR_START_S = 180.0
_ABORT_S = 20.0
_FRESH_TRIES = 2
_PREVIEW_LIMIT = 1_000_000
_log = structlog.get_logger()


class Live(Protocol):
    """Where live progress goes."""

    def show(self, frame: Progress | Preview) -> None:
        """Show the newest frame."""

    def forget(self, attempt_id: AttemptId) -> None:
        """Show nothing more of an attempt."""


class Tools(Struct, frozen=True):
    """What every attempt of this agent works with."""

    session: aiohttp.ClientSession
    reporter: Reporter
    inputs: Inputs
    uploader: Uploader
    live: Live


class Attempt:
    """Works one job off on one executor. `run` returns when there is nothing more to do or say."""

    def __init__(self, job: Job, executor: Executor, tools: Tools) -> None:
        self.job = job
        self._executor = executor
        self._tools = tools
        self._seq = 0
        self._timings = Timings()

    async def run(self) -> None:
        """The whole attempt. Every end but being cancelled or abandoned is reported."""
        log = _log.bind(run=self.job.run_id, attempt=self.job.attempt_id, slot=self._executor.index)
        try:
            await self._claim()
            log.info("attempt_claimed", number=self.job.number)
            outputs = await self._perform()
            await self._emit("success", outputs=outputs, timings=self._timings)
            log.info("attempt_succeeded", outputs=len(outputs), execute_ms=round(self._timings.execute_ms))
        except Abandoned as reason:
            log.info("attempt_abandoned", reason=str(reason))
            await self._tools.reporter.abandon(self.job.attempt_id)
        except AttemptFailed as error:
            log.warning("attempt_failed", kind=error.failure.kind, message=error.failure.message)
            await self._fail(error.failure)
        except Exception as error:
            # The edge of an attempt: whatever went wrong, the run must be told.
            log.error("attempt_broke", exc_info=error)
            await self._fail(Failure(kind="internal", message=f"{type(error).__name__}: {error}"[:1000]))
        finally:
            self._tools.live.forget(self.job.attempt_id)

    async def _claim(self) -> None:
        """Report `started` and wait for the answer: only a claim that was applied may go on."""
        verdict = await self._emit("started")
        result = await verdict
        if result.stop or result.verdict not in ("applied", "duplicate"):
            raise Abandoned(result.reason or f"the claim was {result.verdict}")

    async def _perform(self) -> list[Output]:
        """Every step between the claim and the last event. The slot is tidy before that event is sent, since the
        orchestrator may answer it with the next job.
        """
        try:
            made = await self._make_in_time()
            await self._emit("uploading")
            with self._timed("upload_ms"):
                return await self._tools.uploader.upload(self.job, made)
        finally:
            await asyncio.to_thread(self._executor.trim)

    async def _make_in_time(self) -> list[Made]:
        placed: Placed | None = None
        try:
            async with self._time_limit():
                with self._timed("fetch_ms"):
                    placed = await self._tools.inputs.place(self.job, self._executor.input_directory)
                with self._timed("wait_ms"):
                    await self._executor_ready()
                await self._emit("running")
                with self._timed("execute_ms"):
                    return await self._make(placed)
        finally:
            if placed is not None:
                self._tools.inputs.release(placed)

    async def _make(self, placed: Placed) -> list[Made]:
        """What the prompt made, with its files really there.

        An executor that ran the same nodes before may answer from its cache and name files that have been
        trimmed since; it is then told to forget, and runs again. It may forget only after the prompt that
        follows, so that twice may be needed.
        """
        comfy = Comfy(self._tools.session, self._executor.url)
        folder = self._executor.output_directory
        made = made_by((await self._execute(placed)).outputs, self.job, folder)
        for _ in range(_FRESH_TRIES):
            if all(thing.path is None or thing.path.exists() for thing in made):
                break
            await comfy.drop_caches()
            made = made_by((await self._execute(placed)).outputs, self.job, folder)
        return made

    @contextlib.asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        limit = asyncio.timeout(self.job.timeout_s)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"the run took longer than its {self.job.timeout_s} s"
            raise AttemptFailed.because("timed_out", message) from error

    async def _executor_ready(self) -> None:
        try:
            await self._executor.ready(_EXECUTOR_START_S)
        except ExecutorGone as error:
            raise _crashed(error) from error

    async def _execute(self, placed: Placed) -> HistoryEntry:
        """Run the prompt, and notice when the executor dies under it. Whatever ends this leaves the executor idle."""
        comfy = Comfy(self._tools.session, self._executor.url)
        generation = self._executor.generation
        work = asyncio.create_task(self._prompt(comfy, placed))
        death = asyncio.create_task(self._executor.gone())
        memory = asyncio.create_task(self._watch_memory())
        try:
            await asyncio.wait((work, death), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _crashed(death.result())
            return _outcome(work.result())
        except PromptRefused as refusal:
            raise AttemptFailed(verdicts.refused(refusal.body)) from refusal
        except (PromptLost, aiohttp.ClientError, OSError) as error:
            raise _crashed(await self._last_words(death, error)) from error
        finally:
            idle = death.done() or (work.done() and not work.cancelled() and work.exception() is None)
            for task in (work, death, memory):
                task.cancel()
            await asyncio.gather(work, death, memory, return_exceptions=True)
            if not idle:
                await self._clear(comfy, generation)

    async def _prompt(self, comfy: Comfy, placed: Placed) -> HistoryEntry:
        tracker = Tracker(self.job)
        live = self._tools.live

        def on_message(name: str, data: dict[str, Any]) -> None:
            frame = tracker.take(name, data)
            if frame is not None:
                live.show(frame)

        def on_preview(content_type: str, image: bytes) -> None:
            if len(image) <= _PREVIEW_LIMIT:
                text = base64.b64encode(image).decode()
                live.show(Preview(self.job.run_id, self.job.attempt_id, content_type, text))

        extra: dict[str, Any] = {}
        if self.job.ui_graph is not None:
            extra["extra_pnginfo"] = {"workflow": self.job.ui_graph}
        return await comfy.run(self.job.attempt_id, placed.workflow, extra, on_message, on_preview)

    async def _clear(self, comfy: Comfy, generation: int) -> None:
        """Get our prompt off the executor; an executor that does not let go of it is ended."""
        try:
            async with asyncio.timeout(_ABORT_S):
                await comfy.abort(self.job.attempt_id)
                while True:
                    if not await comfy.is_known(self.job.attempt_id):
                        break
                    await asyncio.sleep(0.1)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("executor_not_cleared", slot=self._executor.index, error=str(error) or type(error).__name__)
            if generation == self._executor.generation:
                self._executor.kill()

    async def _last_words(self, death: asyncio.Task[ExecutorGone], error: Exception) -> ExecutorGone:
        """How the executor ended, when a broken call turns out to be its end; else what the call said."""
        done, _ = await asyncio.wait((death,), timeout=2)
        return death.result() if done else ExecutorGone(str(error) or type(error).__name__, self._executor.log_tail())

    async def _watch_memory(self) -> None:
        while True:
            peak = max(self._timings.peak_bytes, self._executor.memory())
            self._timings = structs.replace(self._timings, peak_bytes=peak)
            await asyncio.sleep(0.5)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Any:
        start = time.monotonic()
        try:
            yield
        finally:
            spent = round((time.monotonic() - start) * 1000, 1)
            self._timings = structs.replace(self._timings, **{name: spent})

    async def _fail(self, failure: Failure) -> None:
        status: ReportedStatus = "timeout" if failure.kind == "timed_out" else "failed"
        await self._emit(status, failure=failure, timings=self._timings)

    async def _emit(
        self,
        status: ReportedStatus,
        outputs: list[Output] | None = None,
        failure: Failure | None = None,
        timings: Timings | None = None,
    ) -> asyncio.Future[EventResult]:
        self._seq += 1
        event = Event(
            run_id=self.job.run_id,
            attempt_id=self.job.attempt_id,
            token=self.job.token,
            seq=self._seq,
            status=status,
            outputs=outputs or [],
            failure=failure,
            timings=timings,
        )
        return await self._tools.reporter.report(event)


def _outcome(entry: HistoryEntry) -> HistoryEntry:
    """The entry of a prompt that ended well. Raises AttemptFailed for one that did not."""
    if entry.status.status_str == "success":
        return entry
    error = entry.message("execution_error")
    if error is not None:
        raise AttemptFailed(verdicts.raised(error))
    raise AttemptFailed.because("internal", "the run was interrupted on the machine")


def _crashed(gone: ExecutorGone) -> AttemptFailed:
    return AttemptFailed(Failure(kind="executor_crashed", message=str(gone)[:1000], traceback=gone.log))
