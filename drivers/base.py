"""What a driver is: the way to one kind of machine. It knows neither the database nor the rules of a run.

DriverError
├── Rejected         the machine refused this job; nothing runs
├── Throttled        the machine has no room now; nothing runs
├── Unreachable      the call did not arrive; nothing runs
└── OutcomeUnknown   the call may have arrived: only the lease decides
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from drivers.wire import AttemptId, Job, MachineId


class DriverError(Exception):
    """A machine could not be told something."""


class Rejected(DriverError):
    """The machine refused this job; nothing runs there."""


class Throttled(DriverError):
    """The machine has no room for the job now; nothing runs there."""


class Unreachable(DriverError):
    """The call did not arrive; nothing runs there."""


class OutcomeUnknown(DriverError):
    """The call may have arrived; whether the job runs is known only when it reports or its lease ends."""


class Capabilities(Struct, frozen=True):
    """What a driver can do beyond submitting."""

    cancel: bool
    previews: bool
    agent: bool  # the machine's agent dials in and reports for itself


class Handle(Struct, frozen=True):
    """A submitted job, as the machine knows it."""

    attempt_id: AttemptId
    reference: str


class Driver(Protocol):
    """Six methods at most; one instance serves every machine of its kind."""

    capabilities: Capabilities

    def reachable(self) -> set[MachineId]:
        """Machines this process can submit to now."""

    async def submit(self, machine_id: MachineId, job: Job) -> Handle:
        """Hand the job to the machine. Raises DriverError; returns once the machine has it."""

    async def cancel(self, machine_id: MachineId, attempt_id: AttemptId, reason: str) -> None:
        """Ask the machine to stop the attempt. Idempotent; an unknown attempt is not an error."""

    async def close(self) -> None:
        """Release connections. Runs go on."""
