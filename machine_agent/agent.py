"""Puts the agent together and runs it until it is told to go: the composition root, and what each frame leads to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any, assert_never

import aiohttp
import structlog

from drivers.wire import (
    PROTOCOL,
    AskObjectInfo,
    Assign,
    AttemptId,
    Beat,
    Declined,
    Drain,
    Gpu,
    Hello,
    InventoryChanged,
    Job,
    LiveEnd,
    LiveInput,
    ObjectInfo,
    ServerFrame,
    Stop,
    TakeSecrets,
    Welcome,
)
from machine_agent import VERSION
from machine_agent.attempt import Tools
from machine_agent.cache import Cache
from machine_agent.config import Config
from machine_agent.executor import Executor
from machine_agent.identity import Identity
from machine_agent.inputs import Inputs
from machine_agent.inventory import Inspector, find_gpus, visible
from machine_agent.launch import Server
from machine_agent.link import Link
from machine_agent.log import TAP
from machine_agent.process import ExecutorProcess, ProcessSettings, Recycling
from machine_agent.remote import RemoteExecutor
from machine_agent.reporter import Reporter
from machine_agent.secrets import HELD
from machine_agent.slots import Pool
from machine_agent.spool import TERMINAL, Spool, restarted
from machine_agent.uploads import Uploader

_LAST_FLUSH_S = 5.0
_log = structlog.get_logger()


class Agent:
    """One machine's agent: its parts, and the rules between them."""

    def __init__(self, config: Config, identity: Identity, session: aiohttp.ClientSession, gpus: list[Gpu]) -> None:
        self._config = config
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()
        url = config.url or identity.url
        self._spool = Spool(config.data / "spool")
        self.reporter = Reporter(session, url, identity.credential, self._spool, self._taken_away)
        self.link = Link(url, identity.credential, self._hello, self._beat, self._handle, TAP.take)
        self.executors = _executors(config, gpus, session)
        self.inputs = Inputs(
            session,
            url,
            Cache(config.data / "cache", config.cache_limit),
            allow_private=config.allow_private_inputs,
        )
        tools = Tools(session, self.reporter, self.inputs, Uploader(session, url), self.link, HELD)
        self.pool = Pool(self.executors, tools)
        self.inspector = Inspector(session, config.models_directory, config.data / "hashes.json", gpus)

    async def run(self, leave: asyncio.Event, hurry: asyncio.Event) -> None:
        """Work until `leave` is set and what runs has finished, or `hurry` is set, or the grace is over."""
        left_over = self._spool.load()
        if left_over:
            _log.info("spool_resumed", events=len(left_over))
        self.reporter.resume(left_over)
        background: list[asyncio.Task[Any]] = [
            asyncio.create_task(part)
            for part in (
                *(executor.supervise() for executor in self.executors),
                self.reporter.run(),
                self.link.run(),
                self._inspect(),
            )
        ]
        leaving = asyncio.create_task(leave.wait())
        try:
            await asyncio.wait((leaving, *background), return_when=asyncio.FIRST_COMPLETED)
            for task in background:
                if task.done():  # none of them ever ends but by a fault of ours
                    task.result()
            await self._leave(hurry)
        finally:
            for task in [leaving, *background]:
                task.cancel()
            await asyncio.gather(leaving, *background, return_exceptions=True)
            await self.inputs.close()

    async def _leave(self, hurry: asyncio.Event) -> None:
        """Take nothing more, let running jobs finish, report all; stop at once when told to hurry."""
        _log.info("draining", held=len(self.pool.held), grace_s=self._config.drain_s)
        self._leaving = True
        self.pool.draining = True
        self.link.send(InventoryChanged(slots=0, inventory=self.inspector.inventory))
        if not await _before(hurry, self._finish(), self._config.drain_s):
            await self._cut_short()
        _log.info("drained", unreported=len(self._spool.attempts()))

    async def _finish(self) -> None:
        await self.pool.idle()
        await self.reporter.flushed()

    async def _cut_short(self) -> None:
        for attempt_id in await self.pool.halt():
            last = self._spool.last(attempt_id)
            if last is not None and last.status not in TERMINAL:
                await self.reporter.report(restarted(last, "the agent was told to stop at once"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_FLUSH_S):
                await self.reporter.flushed()

    async def _inspect(self) -> None:
        """Tell the orchestrator when the machine's inventory changes: soon after the start, then now and then."""
        await self._look(hashed=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.rescan_s):
                await self._any_up()
        await self._look(hashed=False)
        while True:
            await self._look(hashed=True)
            await asyncio.sleep(self._config.rescan_s)

    async def _any_up(self) -> None:
        waits = [asyncio.create_task(executor.ready(3600)) for executor in self.executors]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _look(self, *, hashed: bool) -> None:
        executor = next((one for one in self.executors if one.is_up), self.executors[0])
        if await self.inspector.look(executor, hashed=hashed):
            self.link.send(InventoryChanged(slots=self._slots, inventory=self.inspector.inventory))

    @property
    def _slots(self) -> int:
        return 0 if self._leaving else len(self.executors)

    def _attempts(self) -> list[AttemptId]:
        return list(dict.fromkeys((*self.pool.held, *self._spool.attempts())))

    def _hello(self) -> Hello:
        return Hello(PROTOCOL, VERSION, self._slots, self.inspector.inventory, self._attempts())

    def _beat(self) -> Beat:
        return Beat(used=len(self.pool.held), attempts=self._attempts())

    def _handle(self, frame: ServerFrame) -> None:
        match frame:
            case Assign(job=job):
                self._assigned(job)
            case Stop(attempt_id=attempt_id, reason=reason):
                self.pool.stop(attempt_id, reason)
                self._spawn(attempt_id)
            case Drain(on=on):
                _log.info("drain_ordered", on=on)
                self.pool.draining = on or self._leaving
            case AskObjectInfo(hash=wanted):
                self._hand_over(wanted)
            case TakeSecrets(values=values):
                self._take_secrets(values)
            case LiveInput() | LiveEnd():
                self.pool.live(frame)
            case Welcome():
                _log.warning("unexpected_welcome")
            case _:
                assert_never(frame)

    def _take_secrets(self, values: dict[str, str]) -> None:
        if not HELD.take(values):
            return
        given = isinstance(self._config.executor, Server)
        _log.info("secrets_taken", names=sorted(HELD.environment), given=not given)
        self.pool.freshen()

    def _hand_over(self, wanted: str) -> None:
        told = self.inspector.object_info
        if wanted == told.hash:
            self.link.send(ObjectInfo(wanted, told.body))

    def _assigned(self, job: Job) -> None:
        if self._spool.last(job.attempt_id) is not None:
            return  # held, or finished and being reported
        reason = self.pool.assign(job)
        if reason is not None:
            _log.info("assignment_declined", attempt=job.attempt_id, reason=reason)
            self.link.send(Declined(job.attempt_id, reason))

    def _spawn(self, attempt_id: AttemptId) -> None:
        task = asyncio.create_task(self.reporter.abandon(attempt_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _taken_away(self, attempt_id: AttemptId, reason: str) -> None:
        self.pool.stop(attempt_id, reason)


async def run_agent(config: Config, identity: Identity) -> None:
    """Run an agent with these settings until SIGTERM or SIGINT."""
    leave, hurry = asyncio.Event(), asyncio.Event()
    async with _signals(leave, hurry), aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        gpus = visible(await find_gpus(), config.visible_devices)
        await Agent(config, identity, session, gpus).run(leave, hurry)


@contextlib.asynccontextmanager
async def _signals(leave: asyncio.Event, hurry: asyncio.Event) -> AsyncIterator[None]:
    """The first SIGTERM or SIGINT sets `leave`, the second `hurry`."""

    def on_signal() -> None:
        (hurry if leave.is_set() else leave).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _before(alarm: asyncio.Event, work: Coroutine[Any, Any, None], timeout: float) -> bool:
    """Whether the work ended before the alarm and within the time."""
    working = asyncio.ensure_future(work)
    ringing = asyncio.create_task(alarm.wait())
    await asyncio.wait((working, ringing), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    done = working.done()
    for task in (working, ringing):
        task.cancel()
    await asyncio.gather(working, ringing, return_exceptions=True)
    return done


def _executors(config: Config, gpus: list[Gpu], session: aiohttp.ClientSession) -> list[Executor]:
    """One executor per GPU, or as many as were asked for, spread over the devices there are."""
    homes = config.data / "executors"
    program = config.executor
    if isinstance(program, Server):
        return [RemoteExecutor(index, program.url, homes / str(index), session) for index in range(config.slots or 1)]
    devices: list[str | None] = list(_devices(config, gpus)) or [None]
    count = config.slots or len(devices)
    threads = config.threads or max(1, (os.cpu_count() or 1) // count)
    recycling = Recycling(config.recycle_runs, config.recycle_memory)
    return [
        ExecutorProcess(
            index,
            ProcessSettings(
                program=program,
                home=homes / str(index),
                models=config.models_directory,
                threads=threads,
                environment=config.environment,
                device=devices[index % len(devices)],
                recycling=recycling,
                secrets=HELD,
            ),
            session,
        )
        for index in range(count)
    ]


def _devices(config: Config, gpus: list[Gpu]) -> list[str]:
    if not gpus:
        return []
    visible = config.visible_devices
    return [str(index) for index in range(len(gpus))] if visible is None else visible
