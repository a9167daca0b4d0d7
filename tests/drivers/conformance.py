"""What every driver must do, whatever kind of machine it reaches: one suite, proven on each.

A driver's test module subclasses DriverConformance and overrides the fixture `rig`, which yields a Rig: the driver with
a real machine behind it (its wire is real; a provider's server may be played by the test).
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import Protocol
from uuid import uuid4

import pytest

from drivers.base import Capabilities, Driver, Handle, Throttled, Unreachable
from drivers.wire import AttemptId, Job, LeaseToken, MachineId, RunId


class Rig(Protocol):
    """A driver and one machine that it reaches, as the suite handles them."""

    driver: Driver
    machine_id: MachineId

    async def received(self, count: int) -> Sequence[Job]:
        """All jobs that reached the machine, once there are at least so many. Raises TimeoutError."""

    async def stopped(self, count: int) -> Sequence[AttemptId]:
        """All attempts that the machine was asked to stop, once there are at least so many. Raises TimeoutError."""

    async def settle(self) -> None:
        """Return once everything that the driver has said so far has reached the machine."""

    async def fill(self) -> None:
        """Bring the machine, or the way to it, to where it takes no more jobs."""

    async def cut(self) -> None:
        """Make the machine unreachable for the driver, and wait until the driver can know."""

    async def holds(self, attempt_id: AttemptId) -> bool:
        """Whether the machine still works on the attempt."""


def a_job(seed: int = 0) -> Job:
    """A job as the dispatcher makes them."""
    attempt = AttemptId(str(uuid4()))
    graph = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": seed}}}
    return Job(RunId(str(uuid4())), attempt, 1, LeaseToken(f"token-{attempt}"), graph, timeout_s=60)


class DriverConformance:
    """Subclass it, and give it a `rig`."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def rig(self) -> Rig:
        """The driver's rig."""
        raise NotImplementedError

    async def test_a_job_reaches_the_machine_exactly_once_and_unchanged(self, rig: Rig) -> None:
        """submit() returns a handle of this attempt, and the machine has the very job, once."""
        job = a_job()
        handle = await rig.driver.submit(rig.machine_id, job)
        assert isinstance(handle, Handle)
        assert handle.attempt_id == job.attempt_id
        assert handle.reference
        await rig.settle()
        assert list(await rig.received(1)) == [job]

    async def test_jobs_arrive_in_the_order_they_were_submitted(self, rig: Rig) -> None:
        """Several jobs keep their order and their identity."""
        jobs = [a_job(seed) for seed in range(5)]
        for job in jobs:
            await rig.driver.submit(rig.machine_id, job)
        assert list(await rig.received(5)) == jobs

    async def test_a_machine_nobody_knows_is_unreachable(self, rig: Rig) -> None:
        """submit() to it raises Unreachable, and nothing reaches any machine."""
        with pytest.raises(Unreachable):
            await rig.driver.submit(MachineId(str(uuid4())), a_job())
        await rig.settle()
        assert not await rig.received(0)

    async def test_reachable_tells_the_truth(self, rig: Rig) -> None:
        """The machine is named while it can be submitted to, and not once it is cut off; then submit() says so."""
        assert rig.machine_id in rig.driver.reachable()
        await rig.cut()
        assert rig.machine_id not in rig.driver.reachable()
        with pytest.raises(Unreachable):
            await rig.driver.submit(rig.machine_id, a_job())

    async def test_what_reachable_answers_is_the_callers_own(self, rig: Rig) -> None:
        """Changing the answer changes nothing in the driver."""
        rig.driver.reachable().clear()
        assert rig.machine_id in rig.driver.reachable()

    async def test_a_full_machine_throttles(self, rig: Rig) -> None:
        """submit() raises Throttled when no more is taken."""
        await rig.fill()
        with pytest.raises(Throttled):
            await rig.driver.submit(rig.machine_id, a_job())

    async def test_cancelling_reaches_the_machine(self, rig: Rig) -> None:
        """A driver that says it can cancel does; cancelling again is no error."""
        if not rig.driver.capabilities.cancel:
            return
        job = a_job()
        await rig.driver.submit(rig.machine_id, job)
        for _ in range(2):
            await rig.driver.cancel(rig.machine_id, job.attempt_id, "no longer wanted")
        assert set(await rig.stopped(1)) == {job.attempt_id}

    async def test_cancelling_what_is_unknown_is_no_error(self, rig: Rig) -> None:
        """An attempt or a machine that nobody knows: nothing happens, whether or not the machine can be reached."""
        await rig.driver.cancel(rig.machine_id, AttemptId(str(uuid4())), "never was")
        await rig.driver.cancel(MachineId(str(uuid4())), AttemptId(str(uuid4())), "never was")
        await rig.cut()
        await rig.driver.cancel(rig.machine_id, AttemptId(str(uuid4())), "never was")

    async def test_closing_leaves_runs_alone(self, rig: Rig) -> None:
        """close() stops no attempt; afterwards nothing is reachable, and closing again is no error."""
        job = a_job()
        await rig.driver.submit(rig.machine_id, job)
        await rig.received(1)
        await rig.driver.close()
        await rig.driver.close()
        assert await rig.holds(job.attempt_id)
        assert not await rig.stopped(0)
        assert not rig.driver.reachable()
        with pytest.raises(Unreachable):
            await rig.driver.submit(rig.machine_id, a_job())

    async def test_it_has_the_shape_of_a_driver(self, rig: Rig) -> None:
        """Its capabilities are plain truths, and its methods are the protocol's."""
        assert isinstance(rig.driver.capabilities, Capabilities)
        for name in ("submit", "cancel", "close"):
            assert iscoroutinefunction(getattr(rig.driver, name)), name
        assert isinstance(rig.driver.reachable(), set)
