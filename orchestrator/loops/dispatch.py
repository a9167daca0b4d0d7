"""The dispatcher: head of the queue and connected machines in, attempts out.

Fetch facts, let `runs.schedule.choose()` decide, write the attempts, then (no transaction open) send the jobs. Each
replica dispatches to the machines it can reach; a run that two replicas want goes to the one whose guarded UPDATE
comes first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from msgspec import Struct

from drivers.base import DriverError
from drivers.classic import Classic
from drivers.wire import AttemptId, Failure, Job, JobFile, LeaseToken
from orchestrator.config import Config
from orchestrator.live.fleet import Fleet
from orchestrator.live.graphs import opened
from orchestrator.live.quotas import QuotaBook
from orchestrator.runs import inputs, shapes
from orchestrator.runs.schedule import Demand, Placement, Plan, Waiting, choose
from orchestrator.runs.state import Lost, Placed, RunState, Step
from orchestrator.store import graphs, ids, runs
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from orchestrator.vault import Sealed, Vault

log = structlog.get_logger("dispatch")

MOST_HEADS: Final = 500
MOST_VERSIONS: Final = 2000

JobFiles = Callable[[str, list[str]], Awaitable[dict[str, JobFile]]]
"""(organisation_id, file ids) -> what a job needs of each stored file, by id."""


class _Attempt(Struct):
    head: runs.Head
    placement: Placement
    attempt_id: AttemptId
    token: LeaseToken


class Dispatch:
    """One per process. `tick` places what it can; `look_again` forgets which lanes nobody here could serve."""

    def __init__(
        self,
        db: Database,
        ledger: Ledger,
        fleet: Fleet,
        classic: Classic,
        job_files: JobFiles,
        config: Config,
        quotas: QuotaBook,
        vault: Vault,
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._fleet = fleet
        self._classic = classic
        self._job_files = job_files
        self._config = config
        self._quotas = quotas
        self._vault = vault
        self._versions: dict[str, runs.VersionFacts] = {}
        self._unfit: set[int] = set()

    def look_again(self) -> None:
        """The machines changed: lanes that fitted none may fit one now."""
        self._unfit.clear()

    async def tick(self) -> bool:
        """Place one batch. True when there may be more to place at once."""
        full: set[int] = set()
        placed = False
        while True:
            machines = [view for view in self._fleet.views() if view.ready]
            free = sum(view.free for view in machines)
            if free == 0:
                return False
            organisations = {view.organisation_id for view in machines if view.free}
            limit = min(MOST_HEADS, free + 50)
            heads = await runs.heads(self._db, self._unfit | full, organisations, limit)
            if not heads:
                return placed
            await self._learn({head.version_id for head in heads})
            demands = {head.lane: self._demand(head) for head in heads}
            waiting = [Waiting(head.id, head.lane, frozenset(head.tried)) for head in heads]
            plan = choose(waiting, demands, machines, await self._quotas.running_room(organisations))
            self._unfit |= plan.unfit
            full |= plan.full
            await self._carry_out(plan, heads)
            placed = placed or bool(plan.placements)
            if len(heads) < limit or not (plan.unfit or plan.full):
                return bool(plan.placements) and len(heads) == limit

    def _demand(self, head: runs.Head) -> Demand:
        facts = self._versions[head.version_id]
        return Demand(
            head.organisation_id,
            head.version_id,
            facts.node_classes,
            facts.models,
            tuple(sorted(head.pool.items())),
            head.pinned_machine_id,
            facts.hashes,
        )

    async def _learn(self, version_ids: set[str]) -> None:
        missing = [version_id for version_id in version_ids if version_id not in self._versions]
        if missing:
            if len(self._versions) > MOST_VERSIONS:
                self._versions.clear()
                missing = list(version_ids)
            self._versions |= await runs.version_facts(self._db, missing)

    async def _carry_out(self, plan: Plan, heads: list[runs.Head]) -> None:
        if not plan.placements:
            return
        by_id = {head.id: head for head in heads}
        attempts = [
            _Attempt(by_id[placement.run_id], placement, AttemptId(ids.new_id()), LeaseToken(ids.token("cft")))
            for placement in plan.placements
        ]
        for attempt in attempts:
            self._fleet.hold(attempt.placement.machine_id, attempt.attempt_id, attempt.head.id, attempt.head.version_id)
        try:
            answers = await self._ledger.apply([self._change(attempt) for attempt in attempts])
        except BaseException:
            for attempt in attempts:
                self._fleet.release(attempt.attempt_id)
            raise
        for attempt, answer in zip(attempts, answers, strict=True):
            if isinstance(answer, Step):
                await self._send(attempt)
            else:
                self._fleet.release(attempt.attempt_id)

    def _change(self, attempt: _Attempt) -> Change:
        head = attempt.head
        return Change(
            run_id=head.id,
            event=Placed(attempt.attempt_id, attempt.placement.machine_id),
            organisation_id=head.organisation_id,
            known=RunState("not-started", head.revision, head.attempts, head.max_attempts, faults=head.faults),
            token_hash=ids.digest(attempt.token),
            claim_s=self._config.claim_s,
            why=attempt.placement.why,
        )

    async def _send(self, attempt: _Attempt) -> None:
        """Hand the job over; an attempt that could not be sent is lost at once, and the run waits again."""
        try:
            job = await self._job(attempt)
            await self._classic.submit(attempt.placement.machine_id, job)
        except KeyError as error:
            await self._give_up(attempt, Failure("input_unavailable", f"the file {error} is gone"))
        except Sealed as error:
            await self._give_up(
                attempt, Failure("input_unavailable", f"the keys that go along cannot be read: {error}")
            )
        except DriverError as error:
            await self._give_up(attempt, Failure("rejected", str(error)))

    async def _job(self, attempt: _Attempt) -> Job:
        head = attempt.head
        facts = self._versions[head.version_id]
        wanted = inputs.file_ids(head.inputs)
        files = await self._job_files(head.organisation_id, wanted) if wanted else {}
        graph, needed = inputs.lay(facts.api_graph, head.inputs, files)
        along = await self._along(head, facts)
        keys = None if along.sealed is None else opened(self._vault, head.organisation_id, head.id, along.sealed)
        return Job(
            run_id=head.id,
            attempt_id=attempt.attempt_id,
            number=head.attempts + 1,
            token=attempt.token,
            workflow=graph,
            timeout_s=min(head.timeout_s, self._fleet.longest_run_s(attempt.placement.machine_id) or head.timeout_s),
            files=needed,
            ui_graph=facts.ui_graph or along.ui_graph,
            realtime=self._fleet.realtime.is_open(head.id),
            live_outputs=along.dialect == "comfyui",
            extra=keys or {},
        )

    async def _along(self, head: runs.Head, facts: runs.VersionFacts) -> graphs.Along:
        """What went along with a graph that was sent whole."""
        if not shapes.is_shape(facts.api_graph):
            return graphs.Along()
        return await graphs.along(self._db, head.organisation_id, head.id)

    async def _give_up(self, attempt: _Attempt, failure: Failure) -> None:
        log.warning("job not sent", run=attempt.head.id, reason=failure.message)
        await self._ledger.change(Change(attempt.head.id, Lost(attempt.attempt_id, failure)))
