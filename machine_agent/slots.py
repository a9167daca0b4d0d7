"""The slots of this machine: which job each executor works on. It knows neither the link nor the spool."""

from __future__ import annotations

import asyncio

import structlog

from drivers.wire import AttemptId, Job
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
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @property
    def held(self) -> list[AttemptId]:
        """Attempts being worked on."""
        return list(self._tasks)

    def assign(self, job: Job) -> str | None:
        """Start on a job; otherwise the reason why not. A job that is held already is simply held."""
        if job.attempt_id in self._tasks:
            return None
        if not is_safe(job.attempt_id):
            return "the attempt id is not usable"
        if self.draining:
            return "draining"
        if not self._free:
            return "no free slot"
        # An executor that is up goes before one that is starting.
        executor = min(self._free, key=lambda one: (not one.is_up, one.index))
        self._free.remove(executor)
        self._idle.clear()
        self._tasks[job.attempt_id] = asyncio.create_task(self._serve(job, executor))
        return None

    def stop(self, attempt_id: AttemptId, reason: str) -> None:
        """Stop working on an attempt and leave its executor idle. An unknown attempt is no error."""
        task = self._tasks.get(attempt_id)
        if task is not None:
            _log.info("attempt_stopped", attempt=attempt_id, reason=reason)
            task.cancel()

    async def idle(self) -> None:
        """Wait until no slot is in use."""
        await self._idle.wait()

    async def halt(self) -> list[AttemptId]:
        """Stop everything at once; the attempts that were not finished."""
        held = dict(self._tasks)
        for task in held.values():
            task.cancel()
        await asyncio.gather(*held.values(), return_exceptions=True)
        return list(held)

    async def _serve(self, job: Job, executor: Executor) -> None:
        try:
            await Attempt(job, executor, self._tools).run()
        finally:
            del self._tasks[job.attempt_id]
            self._free.append(executor)
            if not self._tasks:
                self._idle.set()
