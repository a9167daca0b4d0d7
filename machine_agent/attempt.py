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
    FailureClass,
    Job,
    LiveOutput,
    Log,
    NodeDone,
    Output,
    Preview,
    Progress,
    ReportedStatus,
    Timings,
    WorkflowJson,
)
from machine_agent import translate, verdicts
from machine_agent.comfy import Comfy, HistoryEntry, Listener, PromptLost, PromptRefused
from machine_agent.early import Early
from machine_agent.errors import Abandoned, AttemptFailed, ExecutorGone
from machine_agent.executor import Executor
from machine_agent.inputs import Fetched, Inputs
from machine_agent.log_tail import HeardLog, LogSource
from machine_agent.progress import Tracker
from machine_agent.realtime import Collector, Feed, lay, with_pictures
from machine_agent.reporter import Reporter
from machine_agent.secrets import Secrets
from machine_agent.shelf import Shelf
from machine_agent.uploads import Made, Uploader, made_by

_EXECUTOR_START_S = 180.0
_ABORT_S = 20.0
_FRESH_TRIES = 2
_PREVIEW_LIMIT = 1_000_000
_LOG_S = 0.5
_LOG_LIMIT = 400_000
_log = structlog.get_logger()


class Live(Protocol):
    """Where live progress goes."""

    def show(self, frame: Progress | Preview) -> None:
        """Show the newest frame."""

    def write(self, frame: Log) -> None:
        """Send lines of a log."""

    def answer(self, frame: LiveOutput) -> None:
        """Send what a real-time run made."""

    def tell(self, frame: NodeDone) -> None:
        """Say what a node made."""

    def forget(self, attempt_id: AttemptId) -> None:
        """Show nothing more of an attempt."""


class Tools(Struct, frozen=True):
    """What every attempt of this agent works with."""

    session: aiohttp.ClientSession
    reporter: Reporter
    inputs: Inputs
    uploader: Uploader
    live: Live
    secrets: Secrets


class Placed(Struct, frozen=True):
    """A job as its executor gets it: its workflow in the executor's words, and its files within reach."""

    workflow: WorkflowJson
    shelf: Shelf


class Attempt:
    """Works one job off on one executor. `run` returns when there is nothing more to do or say."""

    def __init__(self, job: Job, executor: Executor, tools: Tools) -> None:
        self.job = job
        self._executor = executor
        self._tools = tools
        self.feed = Feed()
        self._collector: Collector | None = None
        self._early: Early | None = None
        self._seq = 0
        self._timings = Timings()

    async def run(self) -> None:
        """The whole attempt. Every end but being cancelled or abandoned is reported."""
        log = _log.bind(run=self.job.run_id, attempt=self.job.attempt_id, slot=self._executor.index)
        try:
            self._tools.secrets.hide_keys(self.job.extra)
            await self._claim()
            log.info("attempt_claimed", number=self.job.number)
            outputs = self._tools.secrets.hide_outputs(await self._perform())
            await self._emit("success", outputs=outputs, timings=self._timings)
            log.info("attempt_succeeded", outputs=len(outputs), execute_ms=round(self._timings.execute_ms))
        except Abandoned as reason:
            log.info("attempt_abandoned", reason=str(reason))
            await self._tools.reporter.abandon(self.job.attempt_id)
        except AttemptFailed as error:
            failure = self._tools.secrets.hide_failure(error.failure)
            log.warning("attempt_failed", kind=failure.kind, message=failure.message)
            await self._fail(failure)
        except Exception as error:
            # The edge of an attempt: whatever went wrong, the run must be told.
            log.error("attempt_broke", exc_info=error)
            message = self._tools.secrets.hide(f"{type(error).__name__}: {error}")
            await self._fail(Failure(kind="internal", message=message[:1000]))
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
            async with contextlib.AsyncExitStack() as later:
                made = await self._make_in_time(later)
                await self._emit("uploading")
                with self._timed("upload_ms"):
                    return await (self._early.upload(made) if self._early else self._upload(made))
        finally:
            await self._executor.after_run()

    async def _upload(self, made: list[Made]) -> list[Output]:
        return await self._tools.uploader.upload(self.job, made)

    async def _make_in_time(self, later: contextlib.AsyncExitStack) -> list[Made]:
        """Everything that counts against the run's time. later: what is tidied up when all is uploaded."""
        async with self._time_limit():
            with self._timed("fetch_ms"):
                fetched = await self._tools.inputs.fetch(self.job)
                later.callback(self._tools.inputs.release, fetched)
            with self._timed("wait_ms"):
                await self._executor_ready()
            placed = await self._place(fetched, later)
            if self.job.live_outputs:
                self._early = Early(self.job, placed.shelf, self._tools.uploader, self._tell)
                later.push_async_callback(self._early.close)
            await self._emit("running")
            with self._timed("execute_ms"):
                return await self._make(placed)

    def _tell(self, done: NodeDone) -> None:
        hidden = self._tools.secrets.hide_outputs(done.outputs)
        self._tools.live.tell(structs.replace(done, outputs=hidden))

    async def _place(self, fetched: Fetched, later: contextlib.AsyncExitStack) -> Placed:
        """The inputs where the executor finds them, and the workflow in words that it knows."""
        try:
            shelf = await self._executor.shelf(self.job.attempt_id)
            later.push_async_callback(shelf.clear)
            for name, path in fetched.files.items():
                await shelf.put(path, name)
            workflow = fetched.workflow
            if translate.wanted(workflow):
                workflow = translate.translate(workflow, await self._executor.classes())
        except (aiohttp.ClientError, OSError) as error:
            reason = f"the executor did not take the inputs: {str(error) or type(error).__name__}"
            raise _crashed(ExecutorGone(reason)) from error
        return Placed(workflow, shelf)

    async def _make(self, placed: Placed) -> list[Made]:
        """What the prompt made, with its files really there.

        An executor that ran the same nodes before may answer from its cache and name files that have been
        trimmed since; if it is ours it is then told to forget, and runs again. It may forget only after the prompt
        that follows, so that twice may be needed.
        """
        if self.job.realtime:
            return await self._make_live(placed)
        comfy, lost = Comfy(self._tools.session, self._executor.url), ""
        for _ in range(_FRESH_TRIES + 1 if self._executor.ours else 1):
            if lost:
                await comfy.drop_caches()
                if self._early is not None:
                    self._early.again()
            entry = await self._execute(placed)
            made = [await self._collected(thing, placed.shelf) for thing in made_by(entry.outputs, self.job)]
            lost = next((thing.item["filename"] for thing in made if thing.item and thing.path is None), "")
            if not lost:
                return made
        raise AttemptFailed.because("upload_failed", f"the executor no longer has its output {lost!r}")

    async def _make_live(self, placed: Placed) -> list[Made]:
        """Run every input of the client through the workflow until it is gone; nothing of it is kept."""
        classes = await self._executor.classes()
        while (frame := await self.feed.next()) is not None:
            begin = time.monotonic()
            workflow = frame.workflow or placed.workflow
            self._collector = Collector(workflow)
            files = await lay(placed.shelf, frame)
            workflow = with_pictures(workflow, files, classes)
            if translate.wanted(workflow):
                workflow = translate.translate(workflow, classes)
            await self._execute(structs.replace(placed, workflow=workflow))
            spent = round((time.monotonic() - begin) * 1000, 1)
            images = list(self._collector.images.values())
            self._tools.live.answer(LiveOutput(self.job.attempt_id, frame.number, images, spent))
        return []

    async def _collected(self, thing: Made, shelf: Shelf) -> Made:
        if thing.item is None:
            return thing
        try:
            return structs.replace(thing, path=await shelf.get(thing.item))
        except (aiohttp.ClientError, OSError) as error:
            reason = f"output {thing.item['filename']!r} cannot be had: {str(error) or type(error).__name__}"
            raise AttemptFailed.because("upload_failed", reason[:1000]) from error

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
        log = self._executor.log()
        work = asyncio.create_task(self._prompt(comfy, placed, log))
        death = asyncio.create_task(self._executor.gone())
        memory = asyncio.create_task(self._watch_memory())
        writing = asyncio.create_task(self._tell_log(log))
        try:
            await asyncio.wait((work, death), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _crashed(death.result())
            self._note_peaks(work.result())
            return _outcome(work.result(), self._tools.secrets)
        except PromptRefused as refusal:
            raise AttemptFailed(verdicts.refused(self._tools.secrets.hide_all(refusal.body))) from refusal
        except (PromptLost, aiohttp.ClientError, OSError) as error:
            raise _crashed(await self._last_words(death, error)) from error
        finally:
            idle = death.done() or (work.done() and not work.cancelled() and work.exception() is None)
            for task in (work, death, memory, writing):
                task.cancel()
            await asyncio.gather(work, death, memory, writing, return_exceptions=True)
            if not idle:
                await self._clear(comfy, generation)

    async def _prompt(self, comfy: Comfy, placed: Placed, log: LogSource) -> HistoryEntry:
        tracker = Tracker(self.job)
        live = self._tools.live

        collector, early = self._collector, self._early

        def on_message(name: str, data: dict[str, Any]) -> None:
            if collector is not None:
                collector.on_message(name, data)
                return
            frame = tracker.take(name, data)
            if frame is not None:
                live.show(frame)
            if early is not None:
                early.heard(name, data)

        def on_preview(content_type: str, image: bytes) -> None:
            if collector is not None:
                collector.on_preview(content_type, image)
            elif len(image) <= _PREVIEW_LIMIT:
                text = base64.b64encode(image).decode()
                live.show(Preview(self.job.run_id, self.job.attempt_id, content_type, text))

        extra: dict[str, Any] = dict(self.job.extra)
        if self.job.ui_graph is not None:
            extra["extra_pnginfo"] = {"workflow": self.job.ui_graph}
        if placed.shelf.directory is not None:
            extra["fleet"] = {"directory": placed.shelf.directory}
        whole = collector is not None  # its pictures are all that comes of a round
        hear = log.hear if isinstance(log, HeardLog) else None
        heard = Listener(on_message, on_preview, hear)
        return await comfy.run(self.job.attempt_id, placed.workflow, extra, heard, whole=whole)

    async def _tell_log(self, log: LogSource) -> None:
        """Pass on what the executor writes, until this is cancelled; so much and no more."""
        left = _LOG_LIMIT
        try:
            while left > 0:
                left -= self._write(log.read(), left)
                await asyncio.sleep(_LOG_S)
        finally:
            self._write(log.last(), left)

    def _write(self, lines: list[str], left: int) -> int:
        """Send lines if there is room for them; returns their length."""
        size = sum(map(len, lines))
        if lines and left > 0:
            told = lines if size <= left else ["the executor wrote more than is kept of one attempt"]
            self._tools.live.write(Log(self.job.run_id, self.job.attempt_id, told))
        return size

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

    def _note_peaks(self, entry: HistoryEntry) -> None:
        """What the executor measured itself is exact; ComfyUI does not say, then our own samples stand."""
        said = entry.message("execution_success") or entry.message("execution_error") or {}
        ram, vram = said.get("peak_ram"), said.get("peak_vram")
        if isinstance(ram, int):
            self._timings = structs.replace(self._timings, peak_bytes=ram)
        if isinstance(vram, int):
            self._timings = structs.replace(self._timings, peak_vram_bytes=vram)

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


def _outcome(entry: HistoryEntry, secrets: Secrets) -> HistoryEntry:
    """The entry of a prompt that ended well. Raises AttemptFailed for one that did not."""
    if entry.status.status_str == "success":
        return entry
    error = entry.message("execution_error")
    if error is not None:
        raise AttemptFailed(verdicts.raised(secrets.hide_all(error)))
    raise AttemptFailed.because("internal", "the run was interrupted on the machine")


def _crashed(gone: ExecutorGone) -> AttemptFailed:
    kind: FailureClass = "out_of_memory" if gone.out_of_memory else "executor_crashed"
    return AttemptFailed(Failure(kind=kind, message=str(gone)[:1000], traceback=gone.log))
