"""The machines whose agents are connected to this process: their lines, what they have, what they hold.

A Link is one agent's open socket, seen from here. Slots are counted from what was assigned and not yet ended; the
agent's own list, in every heartbeat, corrects the count, so that neither a lost frame nor a restart of either side
leaves a slot taken or a run forgotten. It knows no HTTP, and makes events for the ledger instead of deciding.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import structlog

from drivers.classic import Classic
from drivers.wire import (
    AgentFrame,
    AgentLog,
    AskObjectInfo,
    AttemptId,
    Beat,
    Declined,
    Drain,
    Failure,
    Hello,
    Inventory,
    InventoryChanged,
    LiveOutput,
    Log,
    MachineId,
    NodeDone,
    ObjectInfo,
    Preview,
    Progress,
    RunId,
    ServerFrame,
    Stop,
    TakeSecrets,
    Welcome,
)
from orchestrator.config import Config
from orchestrator.live import nodes
from orchestrator.live.hub import Hub, NodeEvent, PreviewEvent
from orchestrator.live.logs import Logs
from orchestrator.live.machine_secrets import MachineSecrets
from orchestrator.live.realtime import Realtime
from orchestrator.runs.compatibility import hashes_of, is_sha256
from orchestrator.runs.object_info import unpacked
from orchestrator.runs.schedule import MachineView
from orchestrator.runs.state import Lost
from orchestrator.store import fleet as store
from orchestrator.store import machines, object_infos
from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.store.ledger import Change, Changed, Ledger
from orchestrator.wire import ProgressEvent

log = structlog.get_logger("fleet")

OUTBOX: Final = 2000
WARM_VERSIONS: Final = 4
SPEED_WEIGHT: Final = 0.3
LATE_LOGS: Final = 100
PICTURES: Final = ("image/jpeg", "image/png")
MOST_PICTURE: Final = 2_000_000


class Link:
    """One connected agent. Frames to it wait in a bounded outbox that its socket's writer empties."""

    def __init__(self, machine: store.LiveMachine, organisation_id: str, hello: Hello) -> None:
        self.machine = machine
        self.organisation_id = organisation_id
        self.slots = hello.slots
        self.held: dict[AttemptId, tuple[RunId, float]] = {}
        self._let_go: OrderedDict[AttemptId, RunId] = OrderedDict()
        self.warm: OrderedDict[str, None] = OrderedDict()
        self.speeds: dict[str, float] = {}
        self.outbox: asyncio.Queue[ServerFrame | None] = asyncio.Queue(OUTBOX)
        self.node_classes: frozenset[str] = frozenset()
        self.models: frozenset[str] = frozenset()
        self.hashes: dict[str, frozenset[str]] = {}
        self.take_inventory(hello.slots, hello.inventory)

    def take_inventory(self, slots: int, inventory: Inventory) -> None:
        """The machine has this now."""
        self.slots = slots
        self.node_classes = frozenset(inventory.node_classes)
        self.models = frozenset(model.name for model in inventory.models)
        self.hashes = hashes_of((model.name, model.sha256) for model in inventory.models)

    def send(self, frame: ServerFrame) -> bool:
        """Queue a frame; False when the agent reads too slowly."""
        try:
            self.outbox.put_nowait(frame)
        except asyncio.QueueFull:
            return False
        return True

    def close(self) -> None:
        """End the socket's writer, and with it the connection."""
        while not self.send_end():
            self.outbox.get_nowait()

    def send_end(self) -> bool:
        """Queue the end of the connection; False when the outbox is full."""
        try:
            self.outbox.put_nowait(None)
        except asyncio.QueueFull:
            return False
        return True

    def let_go(self, attempt_id: AttemptId) -> bool:
        """The attempt takes no slot any more; False: it took none."""
        held = self.held.pop(attempt_id, None)
        if held is None:
            return False
        self._let_go[attempt_id] = held[0]
        while len(self._let_go) > LATE_LOGS:
            self._let_go.popitem(last=False)
        return True

    def run_of(self, attempt_id: AttemptId) -> RunId | None:
        """The run of an attempt that it holds, or held until lately: the last lines come after the last report."""
        held = self.held.get(attempt_id)
        return self._let_go.get(attempt_id) if held is None else held[0]

    @property
    def versions(self) -> frozenset[str] | None:
        """The only versions that its policy admits; None: any."""
        admitted = self.machine.policy.get("version_ids")
        return None if admitted is None else frozenset(admitted)

    def note_placed(self, version_id: str) -> None:
        """The version's models will be warm here."""
        self.warm[version_id] = None
        self.warm.move_to_end(version_id)
        while len(self.warm) > WARM_VERSIONS:
            self.warm.popitem(last=False)

    def note_speed(self, version_id: str, execute_ms: float) -> float:
        """Take a measured execute time into the moving average; returns the average."""
        before = self.speeds.get(version_id, execute_ms)
        self.speeds[version_id] = before + SPEED_WEIGHT * (execute_ms - before)
        return self.speeds[version_id]

    def view(self) -> MachineView:
        """The machine as the scheduler sees it."""
        return MachineView(
            id=self.machine.id,
            organisation_id=self.organisation_id,
            name=self.machine.name,
            free=max(0, self.slots - len(self.held)),
            slots=self.slots,
            ready=self.machine.takes_runs,
            versions=self.versions,
            labels=self.machine.labels,
            node_classes=self.node_classes,
            models=self.models,
            hashes=self.hashes,
            warm=frozenset(self.warm),
            speeds=self.speeds,
        )


class Fleet:
    """Every link of this process. `changed` is called when a machine may be able to take more or other runs."""

    def __init__(
        self,
        db: Database,
        classic: Classic,
        hub: Hub,
        config: Config,
        secrets: MachineSecrets,
        changed: Callable[[bool], None],
    ) -> None:
        self._db = db
        self._classic = classic
        self._hub = hub
        self._config = config
        self._secrets = secrets
        self._changed = changed
        self._links: dict[MachineId, Link] = {}
        self._holders: dict[AttemptId, Link] = {}
        self._beaten: set[MachineId] = set()
        self._measured: dict[tuple[MachineId, str], float] = {}
        self.realtime = Realtime()
        self._look = True
        self._look_at = 0.0
        self.ledger: Ledger
        self.logs = Logs(db, hub)

    # What the dispatcher asks and tells

    def views(self) -> list[MachineView]:
        """Every machine connected here, as the scheduler sees it."""
        return [link.view() for link in self._links.values()]

    def hold(self, machine_id: MachineId, attempt_id: AttemptId, run_id: RunId, version_id: str) -> None:
        """The attempt takes a slot of the machine from now on."""
        link = self._links.get(machine_id)
        if link is not None:
            link.held[attempt_id] = (run_id, asyncio.get_running_loop().time())
            link.note_placed(version_id)
            self._holders[attempt_id] = link

    def longest_run_s(self, machine_id: MachineId) -> int | None:
        """How long its policy lets an attempt take; None: as long as the run allows."""
        link = self._links.get(machine_id)
        found: int | None = None if link is None else link.machine.policy.get("max_run_s")
        return found

    def release(self, attempt_id: AttemptId) -> None:
        """The attempt takes no slot any more."""
        link = self._holders.pop(attempt_id, None)
        if link is not None and link.let_go(attempt_id):
            self._changed(False)

    def told(self, changes: Iterable[Changed]) -> None:
        """Runs changed: free the slots of attempts that ended, stop those the agent does not know to be over."""
        for changed in changes:
            attempt_id = changed.ended_attempt
            if attempt_id is None:
                continue
            link = self._holders.get(attempt_id)
            if link is not None:
                self._measure(link, changed)
                if changed.outcome in ("lost", "cancelled", "timeout"):
                    link.send(Stop(attempt_id, changed.reason or changed.state.status))
            self.release(attempt_id)

    def _measure(self, link: Link, changed: Changed) -> None:
        if changed.state.status == "success" and changed.timings is not None and changed.version_id:
            average = link.note_speed(changed.version_id, changed.timings.execute_ms)
            self._measured[link.machine.id, changed.version_id] = average

    # A connection's life

    async def join(self, machine: store.LiveMachine, organisation_id: str, hello: Hello) -> Link:
        """An agent said hello: its machine is ready for runs once this returns."""
        link = Link(machine, organisation_id, hello)
        await machines.save_inventory(
            self._db, machine.id, slots=hello.slots, inventory=hello.inventory, agent_version=hello.agent_version
        )
        link.speeds = await store.speeds(self._db, machine.id)
        await store.beat(self._db, {machine.id: len(hello.attempts)}, self._config.lease_s)
        replaced = self._links.get(machine.id)
        if replaced is not None:
            self._drop(replaced)
        await self._reconcile_hello(link, set(hello.attempts))
        secrets = await self._secrets.of(organisation_id, machine.id)
        self._links[machine.id] = link
        self._classic.attach(machine.id, link)
        link.send(Welcome(machine.id, machine.name, self._config.beat_s, self._config.lease_s, logs=True))
        if secrets or machine.secrets_revision:
            link.send(TakeSecrets(secrets))  # before any job
        await self._ask_what_it_declares(link, hello.inventory)
        link.send(Drain(not machine.takes_runs))  # either way: it may have changed while the agent was away
        log.info("machine connected", machine=machine.name, slots=hello.slots, holds=len(link.held))
        self._changed(True)
        return link

    async def leave(self, link: Link) -> None:
        """The connection is closed. What the machine holds goes on until its lease runs out."""
        if self._links.get(link.machine.id) is not link:
            return
        self._drop(link)
        log.info("machine disconnected", machine=link.machine.name, holds=len(link.held))
        await store.beat(self._db, {link.machine.id: len(link.held)}, 0.0, connected=False)

    def _drop(self, link: Link) -> None:
        del self._links[link.machine.id]
        self._classic.detach(link.machine.id, link)
        for attempt_id in link.held:
            self._holders.pop(attempt_id, None)
        link.close()
        self._changed(True)

    def close_all(self) -> None:
        """The process ends: close every connection."""
        for link in list(self._links.values()):
            link.close()

    async def frame(self, link: Link, data: str | bytes) -> None:
        """Act on a frame. Raises msgspec.ValidationError when it is none."""
        frame = msgspec.json.decode(data, type=AgentFrame)
        if isinstance(frame, Progress):
            self._progress(link, frame)
        elif isinstance(frame, Preview):
            self._preview(link, frame)
        elif isinstance(frame, Log):
            self.logs.take(link.organisation_id, link.run_of(frame.attempt_id), frame)
        elif isinstance(frame, AgentLog):
            self.logs.take_own(link.organisation_id, link.machine.id, frame)
        elif isinstance(frame, LiveOutput):
            self.realtime.answered(link.run_of(frame.attempt_id), frame)
        elif isinstance(frame, Beat):
            self._beaten.add(link.machine.id)
            await self._reconcile_beat(link, set(frame.attempts))
        else:
            await self._rarer(link, frame)

    async def _rarer(self, link: Link, frame: AgentFrame) -> None:
        if isinstance(frame, InventoryChanged):
            link.take_inventory(frame.slots, frame.inventory)
            await machines.save_inventory(self._db, link.machine.id, slots=frame.slots, inventory=frame.inventory)
            await self._ask_what_it_declares(link, frame.inventory)
            self._changed(True)
        elif isinstance(frame, ObjectInfo):
            await self._take_object_info(link, frame)
        elif isinstance(frame, NodeDone):
            await self._node_done(link, frame)
        elif isinstance(frame, Declined):
            await self._lost(link, frame.attempt_id, Failure("rejected", f"{link.machine.name}: {frame.reason}"))

    async def _ask_what_it_declares(self, link: Link, inventory: Inventory) -> None:
        told = inventory.object_info
        if is_sha256(told) and not await object_infos.has(self._db, link.organisation_id, bytes.fromhex(told)):
            link.send(AskObjectInfo(told))

    async def _take_object_info(self, link: Link, frame: ObjectInfo) -> None:
        body = await asyncio.to_thread(unpacked, frame.hash, frame.body)
        if body is None:
            log.warning("object info refused", machine=link.machine.name, reason="it is not what its hash says")
            return
        await object_infos.save(self._db, link.organisation_id, bytes.fromhex(frame.hash), body)

    def _progress(self, link: Link, frame: Progress) -> None:
        if frame.attempt_id not in link.held:
            return
        event = ProgressEvent(
            frame.run_id,
            frame.value,
            frame.node_id,
            frame.node_type,
            frame.text,
            frame.nodes_done,
            frame.nodes_total,
            frame.step,
            frame.steps,
        )
        self._hub.publish(link.organisation_id, event)

    def _preview(self, link: Link, frame: Preview) -> None:
        if frame.attempt_id not in link.held or frame.content_type not in PICTURES or len(frame.image) > MOST_PICTURE:
            return
        try:
            image = base64.b64decode(frame.image, validate=True)
        except ValueError:
            return
        now = self._hub.progress(frame.run_id)
        node_id = (now.node_id if now is not None else None) or ""
        self._hub.publish(link.organisation_id, PreviewEvent(frame.run_id, node_id, frame.content_type, image))

    async def _node_done(self, link: Link, frame: NodeDone) -> None:
        held = link.held.get(frame.attempt_id)
        if held is not None:
            made = await nodes.told(self._db, frame.attempt_id, frame.outputs)
            self._hub.publish(link.organisation_id, NodeEvent(held[0], frame.node_id, made))

    # Real-time runs

    def attempt_of(self, run_id: RunId) -> AttemptId | None:
        """The attempt at a run that a machine connected here holds."""
        for attempt_id, link in self._holders.items():
            if link.run_of(attempt_id) == run_id:
                return attempt_id
        return None

    def tell(self, run_id: RunId, frame: ServerFrame) -> bool:
        """Send a frame to the machine that holds a run; False when none does here."""
        attempt_id = self.attempt_of(run_id)
        return attempt_id is not None and self._holders[attempt_id].send(frame)

    # What it holds, and what it should hold

    async def _reconcile_hello(self, link: Link, listed: set[AttemptId]) -> None:
        now = asyncio.get_running_loop().time()
        for attempt in await store.open_attempts(self._db, link.machine.id):
            link.held[attempt.attempt_id] = (attempt.run_id, now)
            self._holders[attempt.attempt_id] = link
        forgotten = set(link.held) - listed
        for attempt_id in listed - set(link.held):
            link.send(Stop(attempt_id, "the attempt is over"))
        for attempt_id in forgotten:
            failure = Failure("machine_lost", f"{link.machine.name} no longer has the attempt")
            await self._lost(link, attempt_id, failure)

    async def _reconcile_beat(self, link: Link, listed: set[AttemptId]) -> None:
        """Compare with the agent's list; only differences that have lasted are looked up."""
        horizon = asyncio.get_running_loop().time() - self._config.claim_s
        missing = {a for a, (_, since) in link.held.items() if a not in listed and since < horizon}
        strange = listed - set(link.held)
        if not missing and not strange:
            return
        still = await store.still_open(self._db, link.machine.id, [*missing, *strange])
        for attempt_id in strange:
            if attempt_id in still:
                link.held[attempt_id] = (still[attempt_id], asyncio.get_running_loop().time())
                self._holders[attempt_id] = link
            else:
                link.send(Stop(attempt_id, "the attempt is over"))
        for attempt_id in missing:
            if attempt_id in still:
                failure = Failure("machine_lost", f"{link.machine.name} no longer has the attempt")
                await self._lost(link, attempt_id, failure)
            else:
                self.release(attempt_id)

    async def _lost(self, link: Link, attempt_id: AttemptId, failure: Failure) -> None:
        held = link.held.get(attempt_id)
        if held is not None:
            await self.ledger.change(Change(held[0], Lost(attempt_id, failure), link.organisation_id))
            self.release(attempt_id)

    def look(self) -> None:
        """Somebody changed a machine: the next tick looks at once instead of within a beat."""
        self._look = True

    # The loop that renews leases and learns what operators changed

    async def tick(self) -> bool:
        """Renew the leases of machines that beat, look up what changed about machines, store measured speeds."""
        beaten, self._beaten = self._beaten & self._links.keys(), set()
        now = asyncio.get_running_loop().time()
        try:
            if beaten:
                used = {machine_id: len(self._links[machine_id].held) for machine_id in beaten}
                await store.beat(self._db, used, self._config.lease_s)
            if self._look or now >= self._look_at:
                self._look, self._look_at = False, now + self._config.beat_s
                await self.refresh(list(self._links))
            measured, self._measured = self._measured, {}
            if measured:
                await store.save_speeds(
                    self._db, [(machine, version, ms) for (machine, version), ms in measured.items()]
                )
            await self.logs.flush()
        except DatabaseUnavailable:
            self._beaten |= beaten
            raise
        return False

    async def refresh(self, machine_ids: list[MachineId]) -> None:
        """Take over names, states and labels from the database; a deleted machine's connection is closed."""
        mine = [machine_id for machine_id in machine_ids if machine_id in self._links]
        if not mine:
            return
        rows = await store.live(self._db, mine)
        for machine_id in mine:
            link = self._links.get(machine_id)
            if link is None:
                continue
            row = rows.get(machine_id)
            if row is None:
                self._drop(link)
            elif row != link.machine:
                await self._take_over(link, row)

    async def _take_over(self, link: Link, row: store.LiveMachine) -> None:
        known = link.machine
        if (row.secrets_revision, row.labels) != (known.secrets_revision, known.labels):
            secrets = TakeSecrets(await self._secrets.of(link.organisation_id, row.id))
            if not link.send(secrets):
                return  # it reads too slowly: the next look sees the difference again
        if row.takes_runs != link.machine.takes_runs:
            link.send(Drain(not row.takes_runs))
        link.machine = row
        self._changed(True)
