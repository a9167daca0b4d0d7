"""The driver of `classic` machines: own GPU boxes.

Their agent dials in over a WebSocket (it works behind NAT); whoever serves that socket attaches it here as a `Line`. It
knows neither the socket's library nor the database. A machine without an agent, a ComfyUI with the comfyui-deploy
plugin at an `endpoint`, has a stand-in of the orchestrator's own as its line, which pushes to it by HTTP (plugin.py).
"""

from __future__ import annotations

from typing import Protocol

from drivers.base import Capabilities, Handle, Throttled, Unreachable
from drivers.wire import Assign, AttemptId, Job, MachineId, ServerFrame, Stop


class Line(Protocol):
    """An agent's open connection."""

    def send(self, frame: ServerFrame) -> bool:
        """Queue the frame for sending. False: the line is closed or too slow to take more."""


class Classic:
    """Submits jobs over the lines of connected agents."""

    capabilities = Capabilities(cancel=True, previews=True, agent=True)

    def __init__(self) -> None:
        self._lines: dict[MachineId, Line] = {}

    def attach(self, machine_id: MachineId, line: Line) -> Line | None:
        """The machine is reached by this line from now on; returns the line that it replaces."""
        replaced = self._lines.get(machine_id)
        self._lines[machine_id] = line
        return replaced

    def detach(self, machine_id: MachineId, line: Line) -> bool:
        """The line is closed. False when another has already taken its place."""
        if self._lines.get(machine_id) is not line:
            return False
        del self._lines[machine_id]
        return True

    def reachable(self) -> set[MachineId]:
        """Machines with an open line in this process."""
        return set(self._lines)

    def send(self, machine_id: MachineId, frame: ServerFrame) -> bool:
        """Send any frame; False when the machine has no open line here."""
        line = self._lines.get(machine_id)
        return line is not None and line.send(frame)

    async def submit(self, machine_id: MachineId, job: Job) -> Handle:
        """Hand the job to the agent's line. Raises Unreachable without a line, Throttled when it takes no more.

        The agent answers by claiming the attempt; an attempt that nobody claims in time is placed again.
        """
        if machine_id not in self._lines:
            raise Unreachable("the machine's agent is not connected here")
        if not self.send(machine_id, Assign(job)):
            raise Throttled("the agent's connection takes no more")
        return Handle(job.attempt_id, job.attempt_id)

    async def cancel(self, machine_id: MachineId, attempt_id: AttemptId, reason: str) -> None:
        """Tell the agent to stop the attempt, if it is connected; it is told again by its next heartbeat."""
        self.send(machine_id, Stop(attempt_id, reason))

    async def close(self) -> None:
        """Forget every line. Agents go on with what they hold."""
        self._lines.clear()
