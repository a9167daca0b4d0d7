"""The slots of this machine: which job each executor works on. It knows neither the link nor the spool."""

from __future__ import annotations

import asyncio

import structlog

from drivers.wire import AttemptId, Job, LiveEnd, LiveInput
from machine_agent.attempt import Attempt, Tools
from machine_agent.executor import Executor
from machine_agent.spool import is_safe

_log = structlog.get_logger()


class Pool:
    """One job per executor at a time."""

    def __init__(self, executors: list[Executor], tools: Tools) -> None:
        self._free = list(executors)
        self._tools = tools
        self._tasks: dict[AttemptId, asyncio.Task[None]] = {}
        self._attempts: dict[AttemptId, Attempt] = {}
        self._stopping: set[AttemptId] = set()
        self._next: list[Job] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @property
    def held(self) -> list[AttemptId]:
        """Attempts being worked on, or about to be."""
        return [*self._tasks, *(job.attempt_id for job in self._next)]

    def assign(self, job: Job) -> str | None:
        """Start on a job; otherwise the reason why not. A job that is held already is simply held.

        A slot whose attempt was stopped counts as free: the orchestrator may hand out the next job before the
        executor has let go of the last one.
        """
        if job.attempt_id in self.held:
            return None
        if not is_safe(job.attempt_id):
            return "the attempt id is not usable"
        if self.draining:
            return "draining"
        if self._free:
            # An executor that is up goes before one that is starting.
            executor = min(self._free, key=lambda one: (not one.is_up, one.index))
            self._free.remove(executor)
            self._begin(job, executor)
        elif len(self._stopping) > len(self._next):
            self._next.append(job)
        else:
            return "no free slot"
        return None

    def stop(self, attempt_id: AttemptId, reason: str) -> None:
        """Stop working on an attempt and leave its executor idle. An unknown attempt is no error."""
        self._next = [job for job in self._next if job.attempt_id != attempt_id]
        task = self._tasks.get(attempt_id)
        if task is not None and attempt_id not in self._stopping:
            _log.info("attempt_stopped", attempt=attempt_id, reason=reason)
            self._stopping.add(attempt_id)
            task.cancel()

    def freshen(self) -> None:
        """The machine's secrets have changed: executors that are idle start afresh, others when their attempt ends."""
        for executor in self._free:
            executor.freshen()

    def live(self, frame: LiveInput | LiveEnd) -> None:
        """Hand a frame to the real-time attempt it is for."""
        attempt = self._attempts.get(frame.attempt_id)
        if attempt is not None:
            attempt.feed.offer(frame)

    async def idle(self) -> None:
        """Wait until no slot is in use."""
        await self._idle.wait()

    async def halt(self) -> list[AttemptId]:
        """Stop everything at once; the attempts that were not finished."""
        self._next.clear()
        held = dict(self._tasks)
        for task in held.values():
            task.cancel()
        await asyncio.gather(*held.values(), return_exceptions=True)
        return list(held)

    def _begin(self, job: Job, executor: Executor) -> None:
        self._idle.clear()
        attempt = Attempt(job, executor, self._tools)
        task = asyncio.create_task(attempt.run())
        self._attempts[job.attempt_id] = attempt
        self._tasks[job.attempt_id] = task
        # Not a `finally` within the task: one that is cancelled before its first step never gets there.
        task.add_done_callback(lambda _: self._release(job.attempt_id, executor))

    def _release(self, attempt_id: AttemptId, executor: Executor) -> None:
        del self._tasks[attempt_id], self._attempts[attempt_id]
        self._stopping.discard(attempt_id)
        executor.freshen()
        if self._next:
            self._begin(self._next.pop(0), executor)
        else:
            self._free.append(executor)
        if not self._tasks:
            self._idle.set()
