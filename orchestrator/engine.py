"""What runs behind the API: queue, ledger, fleet, dispatcher, watcher, notifier, wired together.

The second half of the composition root (app.py): it knows the parts and who wakes whom, and nothing of HTTP.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Final

from msgspec import Struct

from drivers.classic import Classic
from drivers.wire import JobFile, MachineId
from orchestrator import wire
from orchestrator.config import Config
from orchestrator.dialects.comfydeploy.webhooks import progress_body, webhook_body
from orchestrator.files import Files
from orchestrator.live.care import Care
from orchestrator.live.fleet import Fleet
from orchestrator.live.hub import Hub
from orchestrator.live.machine_secrets import MachineSecrets
from orchestrator.live.pushing import Pushing
from orchestrator.live.queue import Queue
from orchestrator.live.reports import Reports
from orchestrator.live.secret_values import SecretValues
from orchestrator.live.shown import shown_run
from orchestrator.loops.dispatch import Dispatch
from orchestrator.loops.notify import Notify
from orchestrator.loops.progress import TellProgress
from orchestrator.loops.retain import Retain
from orchestrator.loops.runner import Bell, Loop
from orchestrator.loops.watch import Watch
from orchestrator.store.coordination import Leader, Wakeup
from orchestrator.store.db import Database
from orchestrator.store.ledger import Changed, Ledger
from orchestrator.store.runs import NewRun
from orchestrator.vault import Vault

WATCH_KEY: Final = 0x464C_5741  # the advisory lock of the replica that watches
PUSH_KEY: Final = 0x464C_5055  # that of the replica that pushes to machines without an agent
SILENT_S: Final = 0.5
TELL_S: Final = 1.0
LONG_S: Final = 60.0


class Engine(Struct):
    """The running parts that handlers use, and the loops to run."""

    hub: Hub
    queue: Queue
    ledger: Ledger
    reports: Reports
    fleet: Fleet
    loops: list[Loop]
    machine_bell: Bell

    def machine_changed(self) -> None:
        """An operator changed a machine: connected agents learn it now."""
        self.fleet.look()
        self.machine_bell.ring()


async def start(config: Config, db: Database, dsn: str, secret: bytes, files: Files, stack: AsyncExitStack) -> Engine:
    """Build and start everything; the stack ends it in reverse order."""
    dispatch_bell, notify_bell, machine_bell = Bell(), Bell(), Bell()
    queue_wakeup = Wakeup(dsn, "fleet_queue")
    await queue_wakeup.start()
    stack.push_async_callback(queue_wakeup.close)
    hub, classic, vault = Hub(), Classic(), Vault(secret, "vault")
    secrets = MachineSecrets(db, vault)
    fleet = Fleet(db, classic, hub, config, secrets, lambda anew: _machines_changed(dispatch, dispatch_bell, anew=anew))

    def told(changes: list[Changed], to_tell: bool) -> None:
        fleet.told(changes)
        care.told(changes)
        for changed in changes:
            _publish(hub, changed)
        if any(changed.state.status == "not-started" for changed in changes):
            dispatch_bell.ring()
        if to_tell:
            notify_bell.ring()

    care = Care(db, config.quarantine_after, fleet.look)
    ledger = Ledger(db, told)
    fleet.ledger = ledger

    def queued(new: list[NewRun]) -> None:
        for run in new:
            hub.publish(run.organisation_id, wire.RunEvent(run.id, 1, "not-started", datetime.now(UTC)))
        dispatch_bell.ring()
        queue_wakeup.notify()

    queue = Queue(db, queued)

    async def job_files(organisation_id: str, file_ids: list[str]) -> dict[str, JobFile]:
        return await files.job_files(db, organisation_id, file_ids)

    dispatch = Dispatch(db, ledger, fleet, classic, job_files, config, queue.quotas, vault)
    leader = Leader(dsn, WATCH_KEY)
    stack.push_async_callback(leader.release)
    watch = Watch(db, ledger, leader, config)

    async def load_run(organisation_id: str, run_id: str) -> wire.Run | None:
        return await shown_run(db, files, organisation_id, run_id)

    notify = Notify(db, config, secret, load_run, foreign=partial(webhook_body, db, files), wake=notify_bell.ring)
    stack.push_async_callback(notify.close)
    telling = TellProgress(db, hub, config, secret, progress_body)
    stack.push_async_callback(telling.close)
    reports = Reports(db, ledger)
    push_leader = Leader(dsn, PUSH_KEY)
    stack.push_async_callback(push_leader.release)
    pushing = Pushing(db, fleet, reports, files, SecretValues(db, vault), push_leader, config)
    ledger.start()
    stack.push_async_callback(ledger.stop)
    queue.start()
    stack.push_async_callback(queue.stop)
    stack.callback(fleet.close_all)
    stack.push_async_callback(pushing.close)

    async def pass_on() -> bool:
        dispatch_bell.ring()
        return False

    loops = [
        Loop("dispatch", dispatch.tick, dispatch_bell, config.poll_s),
        Loop("other replicas' runs", pass_on, queue_wakeup, LONG_S),
        Loop("watch", watch.tick, Bell(), config.poll_s),
        Loop("fleet", fleet.tick, machine_bell, config.poll_s),
        Loop("silent attempts", reports.tick, Bell(), min(SILENT_S, config.poll_s)),
        Loop("pushed machines", pushing.tick, Bell(), config.poll_s),
        Loop("care", care.tick, Bell(), config.poll_s),
        Loop("retain", Retain(db, files, config).tick, Bell(), LONG_S),
        Loop("progress told", telling.tick, Bell(), TELL_S),
        Loop("notify", notify.tick, notify_bell, config.poll_s),
    ]
    return Engine(
        hub=hub, queue=queue, reports=reports, ledger=ledger, fleet=fleet, loops=loops, machine_bell=machine_bell
    )


def _machines_changed(dispatch: Dispatch, bell: Bell, *, anew: bool) -> None:
    """anew: other runs may fit now; otherwise only a slot is free."""
    if anew:
        dispatch.look_again()
    bell.ring()


def _publish(hub: Hub, changed: Changed) -> None:
    state = changed.state
    if changed.ended_attempt is not None:
        hub.forget(changed.run_id)
    machine: MachineId | None = state.machine_id
    event = wire.RunEvent(
        changed.run_id, state.revision, state.status, datetime.now(UTC), state.attempts, machine, changed.reason
    )
    hub.publish(changed.organisation_id, event)
