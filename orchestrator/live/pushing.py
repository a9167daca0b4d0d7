"""Machines that are pushed to: a ComfyUI with the comfyui-deploy plugin at an endpoint, without an agent of ours.

For each, a task here stands in for the agent: it joins the fleet when the endpoint answers, hands jobs over, stops
them, and asks ComfyUI's queue and history about those that say nothing. One replica does it for all such machines. What
a machine says of an attempt goes to the reports; nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec
import structlog

from drivers import egress
from drivers.base import OutcomeUnknown, Unreachable
from drivers.plugin import CALL_S, PluginMachine, Queue, Refusal
from drivers.wire import PROTOCOL, Assign, AttemptId, Beat, Declined, Failure, Hello, Inventory, Job, Stop
from orchestrator.config import Config
from orchestrator.errors import ApiProblem
from orchestrator.files import Files, clean_content_type, clean_name
from orchestrator.live.endpoints import token_name
from orchestrator.live.fleet import Fleet, Link
from orchestrator.live.infos import keep
from orchestrator.live.reports import Reports
from orchestrator.live.secret_values import SecretValues
from orchestrator.runs.callbacks import Facts, Made, key_of
from orchestrator.runs.comfyui import from_history, refusal_of
from orchestrator.runs.pushed import body_of
from orchestrator.store import callbacks as store
from orchestrator.store import fleet as fleet_store
from orchestrator.store.callbacks import Pushed, Reporter
from orchestrator.store.coordination import Leader
from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.store.ids import uuid7

log = structlog.get_logger("pushing")

SLOTS: Final = 1
LOOK_S: Final = 1.0
MISSED: Final = 3  # so many looks in vain, and the machine counts as away
LONGEST_PAUSE_S: Final = 15.0
FETCH_AFTER_S: Final = 3.0
"""A file that was made and not sent for so long is fetched instead."""


class Pushing:
    """Keeps a stand-in for every such machine, on the replica that leads."""

    def __init__(
        self,
        db: Database,
        fleet: Fleet,
        reports: Reports,
        files: Files,
        secrets: SecretValues,
        leader: Leader,
        config: Config,
    ) -> None:
        self._db = db
        self._secrets = secrets
        self._fleet = fleet
        self._reports = reports
        self._files = files
        self._leader = leader
        self._config = config
        self._tasks: dict[Pushed, asyncio.Task[None]] = {}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def tick(self) -> bool:
        """Begin with machines that are new, end with those that are gone; nothing unless this replica leads."""
        wanted = set(await store.pushed_machines(self._db)) if await self._leader.hold() else set()
        for machine in set(self._tasks) - wanted:
            await _ended(self._tasks.pop(machine))
        for machine in wanted - set(self._tasks):
            self._tasks[machine] = asyncio.create_task(self._stand_in(machine), name=f"pushed {machine.machine_id}")
        return False

    async def close(self) -> None:
        """End every stand-in. What the machines work on goes on."""
        for task in self._tasks.values():
            await _ended(task)
        self._tasks.clear()
        for session in self._sessions.values():
            await session.close()

    async def _stand_in(self, machine: Pushed) -> None:
        session = self._sessions.get(machine.private)
        if session is None:
            session = self._sessions[machine.private] = egress.guarded_session(machine.private, CALL_S)
        pause = LOOK_S
        while True:
            try:
                login = await self._secrets.value(machine.organisation_id, token_name(machine.machine_id))
                far = PluginMachine(session, machine.endpoint, allow_private=machine.private, login=login)
                await StandIn(machine, far, self._db, self._fleet, self._reports, self._files, self._config).live()
                pause = LOOK_S
            except (Unreachable, DatabaseUnavailable) as error:
                log.info("pushed machine away", machine=machine.machine_id, error=str(error))
                pause = min(LONGEST_PAUSE_S, 2 * pause)
            except Exception as error:
                log.error("pushed machine failed", machine=machine.machine_id, exc_info=error)
                pause = LONGEST_PAUSE_S
            await asyncio.sleep(pause)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class StandIn:
    """One machine, from when it answers until it does not."""

    def __init__(
        self,
        machine: Pushed,
        far: PluginMachine,
        db: Database,
        fleet: Fleet,
        reports: Reports,
        files: Files,
        config: Config,
    ) -> None:
        self._machine = machine
        self._far = far
        self._db = db
        self._fleet = fleet
        self._reports = reports
        self._files = files
        self._config = config
        self._sent: set[AttemptId] = set()
        self._absent: dict[AttemptId, int] = {}
        self._lacking: dict[str, float] = {}
        self._link: Link

    async def live(self) -> None:
        """Join the fleet and serve until the machine is dropped. Raises Unreachable when it no longer answers."""
        await self._join()
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch())
                await self._serve(group)
                watching.cancel()
        except* (Unreachable, DatabaseUnavailable) as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._fleet.leave(self._link)

    async def _join(self) -> None:
        stats = await self._far.system_stats()
        declared, models = await self._far.declared(), await self._far.models()
        system = stats.get("system")
        version = str(system.get("comfyui_version", "")) if isinstance(system, dict) else ""
        held = await self._still_held(await self._far.queue())
        await store.make_ready(self._db, self._machine.machine_id)
        found = await fleet_store.live(self._db, [self._machine.machine_id])
        if self._machine.machine_id not in found:
            raise Unreachable("the machine was deleted")
        inventory = Inventory(
            node_classes=sorted(declared),
            models=models,
            versions={"comfyui": version},
            object_info=await keep(self._db, self._machine.organisation_id, declared),
        )
        hello = Hello(PROTOCOL, "", SLOTS, inventory, held)
        self._link = await self._fleet.join(found[self._machine.machine_id], self._machine.organisation_id, hello)
        self._sent = set(self._link.held)

    async def _still_held(self, queue: Queue) -> list[AttemptId]:
        """Attempts that it works on, or has ended while nobody looked."""
        ours = await self._own(queue)
        for attempt in await fleet_store.open_attempts(self._db, self._machine.machine_id):
            if attempt.attempt_id not in ours and await self._far.history(attempt.attempt_id) is not None:
                ours.append(attempt.attempt_id)
        return ours

    async def _own(self, queue: Queue) -> list[AttemptId]:
        """Of the prompts in its queue those that are ours; other people's are left alone."""
        ids = [one for one in (*queue.running, *queue.pending) if _is_uuid(one)]
        return list(await store.own_attempts(self._db, self._machine.machine_id, ids)) if ids else []

    # What the fleet tells it

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        while (frame := await self._link.outbox.get()) is not None:
            if isinstance(frame, Assign):
                group.create_task(self._quietly(self._hand_over(frame.job)))
            elif isinstance(frame, Stop):
                group.create_task(self._quietly(self._stop(frame.attempt_id)))

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        """A call that fails is made up for by the next look at the queue."""
        try:
            await work
        except (Unreachable, DatabaseUnavailable) as error:
            log.info("pushed machine away", machine=self._machine.machine_id, error=str(error))

    async def _hand_over(self, job: Job) -> None:
        order = await store.order_of(self._db, job.run_id)
        reporter = self._reporter(job)
        if order is None:
            return
        try:
            await self._far.run(body_of(job, order, self._config.base_url), job.token)
        except Refusal as refusal:
            await self._reports.take(reporter, Facts(failure=_refused(refusal)))
        except Unreachable as error:
            await self._say(Declined(job.attempt_id, str(error)))
        except OutcomeUnknown as error:
            log.warning("whether a job arrived is not known", attempt=job.attempt_id, error=str(error))
            self._sent.add(job.attempt_id)
        else:
            self._sent.add(job.attempt_id)
            await self._reports.take(reporter, Facts(taken=True))

    def _reporter(self, job: Job) -> Reporter:
        return Reporter(job.attempt_id, job.run_id, self._machine.organisation_id, self._machine.machine_id, holds=True)

    async def _stop(self, attempt_id: AttemptId) -> None:
        if _is_uuid(attempt_id):
            await self._far.cancel(attempt_id)

    async def _say(self, frame: Beat | Declined) -> None:
        await self._fleet.frame(self._link, msgspec.json.encode(frame))

    # What it tells the fleet

    async def _watch(self) -> None:
        """Look at the queue again and again; each answer is a sign of life."""
        missed, beat_at = 0, 0.0
        loop = asyncio.get_running_loop()
        while True:
            busy = bool(self._link.held)
            if busy or loop.time() >= beat_at:
                try:
                    await self._look()
                    missed, beat_at = 0, loop.time() + self._config.beat_s
                except Unreachable:
                    missed += 1
                    if missed >= MISSED:
                        raise
            await asyncio.sleep(min(LOOK_S, self._config.beat_s))

    async def _look(self) -> None:
        queue = await self._far.queue()
        ours = await self._own(queue)
        silent = [attempt_id for attempt_id in self._link.held if attempt_id in self._sent and attempt_id not in ours]
        open_still = await fleet_store.still_open(self._db, self._machine.machine_id, silent) if silent else {}
        for attempt_id in silent:
            if attempt_id not in open_still:
                self._fleet.release(attempt_id)
        for attempt_id, run_id in open_still.items():
            reporter = Reporter(attempt_id, run_id, self._machine.organisation_id, self._machine.machine_id, holds=True)
            await self._ask(reporter)
        for attempt_id in ours:
            self._absent.pop(attempt_id, None)
            if attempt_id in self._link.held:
                await self._reports.take((await self._known(attempt_id)), Facts(taken=True))
        await self._say(Beat(len(self._link.held), [*ours, *open_still]))

    async def _known(self, attempt_id: AttemptId) -> Reporter:
        run_id, _ = self._link.held[attempt_id]
        return Reporter(attempt_id, run_id, self._machine.organisation_id, self._machine.machine_id, holds=True)

    async def _ask(self, reporter: Reporter) -> None:
        """What became of an attempt that is no longer in the queue."""
        entry = await self._far.history(reporter.attempt_id)
        if entry is not None:
            await self._reports.take(reporter, from_history(entry))
        verdict = await self._reports.look(reporter)
        if verdict is None:
            return
        if verdict.missing:
            await self._fetch_late(reporter, verdict.missing)
        elif entry is None and verdict.rung in ("started", "running"):  # one that never arrived is not claimed
            await self._vanished(reporter)

    async def _vanished(self, reporter: Reporter) -> None:
        """Neither in the queue nor in the history: the plugin may know, or ComfyUI was started anew."""
        self._absent[reporter.attempt_id] = self._absent.get(reporter.attempt_id, 0) + 1
        if self._absent[reporter.attempt_id] < MISSED:
            return
        said = await self._far.check_status(reporter.attempt_id)
        known = {"success": Facts(success=True), "failed": Facts(failed=True), "cancelled": Facts(interrupted=True)}
        failure = Failure("executor_crashed", "ComfyUI no longer knows the prompt: it was started anew")
        await self._reports.take(reporter, known.get(said or "", Facts(failure=failure)))

    async def _fetch_late(self, reporter: Reporter, missing: list[Made]) -> None:
        now = asyncio.get_running_loop().time()
        for made in missing:
            since = self._lacking.setdefault(f"{reporter.attempt_id}\n{key_of(made)}", now)
            if now - since >= FETCH_AFTER_S:
                await self._fetch(reporter, made)

    async def _fetch(self, reporter: Reporter, made: Made) -> None:
        """Take a file from ComfyUI that the plugin did not send."""
        async with self._far.view(made.name, made.subfolder) as chunks:
            if chunks is None:
                await self._reports.take(reporter, Facts(gone=[key_of(made)]))
                return
            try:
                draft = await self._files.receive(chunks, self._config.max_upload)
            except ApiProblem as problem:
                failure = Failure("upload_failed", f"{made.name}: {problem.detail}", made.node_id)
                await self._reports.take(reporter, Facts(failure=failure))
                return
        name = clean_name(made.name)
        content_type = clean_content_type("", name)
        await self._files.keep(reporter.organisation_id, draft, content_type)
        file_id = uuid7()
        await store.add_file(self._db, reporter, file_id, name, content_type, draft.size, draft.sha256)
        facts = Facts(uploaded={str(file_id): made.name}, claimed={key_of(made): str(file_id)})
        await self._reports.take(reporter, facts)


def _refused(refusal: Refusal) -> Failure:
    if refusal.status == 404:
        return Failure("rejected", "there is no comfyui-deploy plugin at the endpoint")
    if refusal.status == 400 and refusal.answer:
        return refusal_of(refusal.answer)
    return Failure("internal", f"the plugin answered {refusal.status}")


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
