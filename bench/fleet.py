"""The fleet under load: complete runs through the HTTP API, how soon a submitted run is at its machine, idle agents.

Baseline of the throughput: the very same store functions driven straight by asyncpg, in one process, without HTTP, on
the same kind of database (embedded, durable). What is left between the two is what HTTP, JSON and sockets cost.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.http import Connection
from bench.sim import Agent
from bench.system import Orchestrator, orchestrator
from bench.table import Measure, measure
from drivers.wire import AttemptId, Job, LeaseToken, MachineId, Output, RunId, Timings
from orchestrator.runs.state import Placed, Reported, RunState
from orchestrator.store import ids, runs
from orchestrator.store.db import Database
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.ledger import Change, Ledger
from orchestrator.store.migrate import migrate
from orchestrator.store.writer import Writer

AGENTS = 20
SLOTS = 8
SUBMITTERS = 48
SECONDS = 10.0
PACE = 50.0
IDLE_AGENTS = 1000


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


@asynccontextmanager
async def agents(system: Orchestrator, count: int, slots: int, arrived: dict[str, float]) -> AsyncIterator[list[Agent]]:
    """Connected simulated agents; `arrived` gets each run's time of arrival."""

    def note(job: Job) -> None:
        arrived[job.run_id] = time.perf_counter()

    fleet = [Agent(system.url, reply, slots, note) for reply in await system.enrol(count)]
    tasks = [asyncio.create_task(agent.run()) for agent in fleet]
    async with asyncio.timeout(120):
        for agent, task in zip(fleet, tasks, strict=True):
            waiting = asyncio.create_task(agent.connected.wait())
            done, _ = await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
            if task in done:
                task.result()
    try:
        yield fleet
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def throughput(system: Orchestrator, version: str, seconds: float) -> tuple[float, str]:
    """Complete runs per second, submitters kept busy until the time is over; and what bounds it."""
    arrived: dict[str, float] = {}
    async with agents(system, AGENTS, SLOTS, arrived) as fleet:
        stop = time.perf_counter() + seconds
        submitted: list[int] = []

        async def submit() -> None:
            async with Connection(system.url, system.api_key) as http:
                while time.perf_counter() < stop:
                    await http.post("/api/v1/runs", {"version_id": version})
                    submitted.append(1)
                    while sum(agent.done for agent in fleet) + 400 < len(arrived):
                        await asyncio.sleep(0.005)

        cpu, database, client = system.cpu_s(), system.database_cpu_s(), time.process_time()
        start = time.perf_counter()
        submitters = [asyncio.create_task(submit()) for _ in range(SUBMITTERS)]
        await asyncio.sleep(seconds)
        done = sum(agent.done for agent in fleet)
        span = time.perf_counter() - start
        used = [(system.cpu_s() - cpu) / span, (system.database_cpu_s() - database) / span]
        used.append((time.process_time() - client) / span)
        await asyncio.gather(*submitters)
        async with asyncio.timeout(60):  # nothing may be left to disturb the next measure
            while sum(agent.done for agent in fleet) < len(submitted):
                await asyncio.sleep(0.02)
    bound = f"CPU: orchestrator {used[0]:.2f}, PostgreSQL {used[1]:.2f}, load generator {used[2]:.2f} cores"
    return done / span, bound


async def latency(system: Orchestrator, version: str, seconds: float) -> list[float]:
    """Seconds from before the POST until the job is at its agent, at PACE runs a second."""
    arrived: dict[str, float] = {}
    sent: dict[str, float] = {}
    async with agents(system, AGENTS, SLOTS, arrived):
        pool: asyncio.Queue[Connection] = asyncio.Queue()
        connections = [Connection(system.url, system.api_key) for _ in range(16)]
        for connection in connections:
            pool.put_nowait(await connection.__aenter__())

        async def one() -> None:
            http = await pool.get()
            before = time.perf_counter()
            run = await http.post("/api/v1/runs", {"version_id": version})
            sent[run["id"]] = before
            pool.put_nowait(http)

        start = time.perf_counter()
        tasks = []
        for number in range(int(seconds * PACE)):
            await asyncio.sleep(max(0.0, start + number / PACE - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
        async with asyncio.timeout(30):
            while len(arrived.keys() & sent.keys()) < len(sent):
                await asyncio.sleep(0.02)
        for connection in connections:
            await connection.__aexit__()
    return [arrived[run] - sent[run] for run in sent]


async def idle(system: Orchestrator, count: int, seconds: float) -> tuple[float, float, float]:
    """Orchestrator's CPU share without and with idle agents, and bytes of memory for each agent."""
    before = system.cpu_s()
    await asyncio.sleep(seconds)
    empty, memory = (system.cpu_s() - before) / seconds, system.rss()
    async with agents(system, count, 1, {}):
        grown = system.rss() - memory
        before = system.cpu_s()
        await asyncio.sleep(seconds)
        full = (system.cpu_s() - before) / seconds
    return empty, full, grown / count


async def straight(seconds: float) -> float:
    """Complete runs per second by the same SQL and the same coalescing, without HTTP, sockets or a second process."""
    home = Path(tempfile.mkdtemp(prefix="comfyfleet-bench-"))
    home.chmod(0o711)
    server = EmbeddedPostgres(home)
    dsn = await server.start()
    try:
        await migrate(dsn)
        db = await Database.open(dsn)
        try:
            return await _Straight(db, await _team(db), seconds).rate()
        finally:
            await db.close()
    finally:
        await server.stop()


async def _team(db: Database) -> tuple[str, str, str, str]:
    """Rows a run needs: organisation, machine, workflow, version."""
    organisation, machine, workflow, version = (ids.new_id() for _ in range(4))
    await db.execute("insert into organisations (id, name, slug) values ($1, 'o', 'o')", organisation)
    await db.execute(
        "insert into machines (id, organisation_id, name, kind, state) values ($1, $2, 'm', 'classic', 'ready')",
        machine,
        organisation,
    )
    await db.execute("insert into workflows (id, organisation_id, name) values ($1, $2, 'w')", workflow, organisation)
    await db.execute(
        """insert into workflow_versions (id, organisation_id, workflow_id, version, api_graph, requirements)
           values ($1, $2, $3, 1, '{}', '{}')""",
        version,
        organisation,
        workflow,
    )
    return organisation, machine, workflow, version


class _Straight:
    """Submitters, one dispatcher and workers over the store's functions."""

    def __init__(self, db: Database, team: tuple[str, str, str, str], seconds: float) -> None:
        self._db = db
        self._organisation, self._machine, self._workflow, self._version = team
        self._stop = time.perf_counter() + seconds
        self._queue: Writer[runs.NewRun, RunId] = Writer(self._insert)
        self._ledger = Ledger(db, lambda _changes, _to_tell: None)
        self._claimed: asyncio.Queue[tuple[RunId, AttemptId, LeaseToken]] = asyncio.Queue(AGENTS * SLOTS)
        self._done = 0

    async def rate(self) -> float:
        """Complete runs per second."""
        self._queue.start()
        self._ledger.start()
        start = time.perf_counter()
        workers = [asyncio.create_task(self._work()) for _ in range(AGENTS * SLOTS)]
        await asyncio.gather(self._dispatch(), *[self._submit() for _ in range(SUBMITTERS)])
        rate = self._done / (time.perf_counter() - start)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await self._queue.stop()
        await self._ledger.stop()
        return rate

    async def _insert(self, new: list[runs.NewRun]) -> list[RunId]:
        await runs.insert(self._db, new)
        return [run.id for run in new]

    async def _submit(self) -> None:
        while time.perf_counter() < self._stop:
            new = runs.NewRun(
                id=RunId(ids.new_id()),
                organisation_id=self._organisation,
                workflow_id=self._workflow,
                version_id=self._version,
                deployment_id=None,
            )
            await self._queue.put(new)

    async def _dispatch(self) -> None:
        while time.perf_counter() < self._stop:
            room = self._claimed.maxsize - self._claimed.qsize()
            heads = await runs.heads(self._db, set(), {self._organisation}, max(1, room))
            placed = [(head, AttemptId(ids.new_id()), LeaseToken(ids.token("cft"))) for head in heads]
            await self._ledger.apply([self._placement(*each) for each in placed])
            for head, attempt, token in placed:
                await self._claimed.put((head.id, attempt, token))
            if not heads:
                await asyncio.sleep(0.001)

    def _placement(self, head: runs.Head, attempt: AttemptId, token: LeaseToken) -> Change:
        return Change(
            head.id,
            Placed(attempt, MachineId(self._machine)),
            self._organisation,
            known=RunState("not-started", head.revision, head.attempts, head.max_attempts, faults=head.faults),
            token_hash=ids.digest(token),
            claim_s=20,
        )

    async def _work(self) -> None:
        while True:
            run, attempt, token = await self._claimed.get()
            await self._ledger.change(Change(run, Reported(attempt, 1, "started"), token=token))
            outputs, timings = [Output("2", "text", data="done")], Timings(execute_ms=1)
            success = Change(run, Reported(attempt, 4, "success"), token=token, outputs=outputs, timings=timings)
            between = [Reported(attempt, 2, "running"), Reported(attempt, 3, "uploading")]
            await self._ledger.change_all([*(Change(run, event, token=token) for event in between), success])
            self._done += 1


async def measures() -> list[Measure]:
    """All of this file's measures."""
    baseline = await straight(SECONDS)
    async with orchestrator() as system:
        version = await system.version()
        rate, bound = await throughput(system, version, SECONDS)
        delays = await latency(system, version, SECONDS)
        empty, full, each = await idle(system, IDLE_AGENTS, SECONDS)
    p50, p99 = percentile(delays, 0.5) * 1e3, percentile(delays, 0.99) * 1e3
    why = "one commit each for the run and its attempt, and the event loop's queue"
    return [
        measure("fleet.complete_runs_per_s", rate, "runs/s", baseline, bound),
        measure("fleet.submit_to_agent_p50_ms", p50, "ms", None, why),
        measure("fleet.submit_to_agent_p99_ms", p99, "ms", p50, why),
        measure(
            "fleet.idle_1000_agents_cpu", full, "cores", empty, "a heartbeat every 5 s each: decode, batch, upsert"
        ),
        measure("fleet.idle_agent_memory_kb", each / 1024, "KiB", None, "socket buffers and the inventory of each"),
    ]
