"""The classic driver passes the suite: once over a real WebSocket to an agent, as the orchestrator serves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from uuid import uuid4

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from drivers.base import Handle
from drivers.classic import Classic
from drivers.wire import Assign, AttemptId, Drain, Job, MachineId, ServerFrame, Stop
from tests.drivers.conformance import DriverConformance, a_job

PATIENCE_S = 60.0
PLACES = 50


class SocketLine:
    """A machine's line over a real socket: frames wait in a bounded outbox that a writer empties, as in the service."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.outbox: asyncio.Queue[ServerFrame] = asyncio.Queue(PLACES)
        self.may_write = asyncio.Event()
        self.may_write.set()

    def send(self, frame: ServerFrame) -> bool:
        try:
            self.outbox.put_nowait(frame)
        except asyncio.QueueFull:
            return False
        return True

    async def write(self) -> None:
        while True:
            await self.may_write.wait()
            await self.socket.send(msgspec.json.encode(await self.outbox.get()).decode())


class AgentEnd:
    """What an agent does with frames: it takes jobs and stops attempts."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.jobs: list[Job] = []
        self.stops: list[AttemptId] = []
        self.drains = 0
        self.moved = asyncio.Condition()

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self.socket:
                self._take(msgspec.json.decode(message, type=ServerFrame))
                async with self.moved:
                    self.moved.notify_all()

    def _take(self, frame: ServerFrame) -> None:
        match frame:
            case Assign(job=job):
                self.jobs.append(job)
            case Stop(attempt_id=attempt_id):
                self.stops.append(attempt_id)
            case Drain():
                self.drains += 1


class ClassicRig:
    """A Classic with one agent behind a WebSocket on the loopback interface."""

    def __init__(self) -> None:
        self.driver = Classic()
        self.machine_id = MachineId(str(uuid4()))
        self.line: SocketLine
        self.agent: AgentEnd
        self._gone = asyncio.Event()

    async def serve_line(self, socket: ServerConnection) -> None:
        """The server's side of one connection, attached to the driver for as long as it lives."""
        self.line = SocketLine(socket)
        self.driver.attach(self.machine_id, self.line)
        writer = asyncio.create_task(self.line.write())
        await socket.send("{}")
        await socket.wait_closed()
        writer.cancel()
        self.driver.detach(self.machine_id, self.line)
        self._gone.set()

    async def _until(self, seen: list, count: int) -> list:
        async with asyncio.timeout(PATIENCE_S), self.agent.moved:
            await self.agent.moved.wait_for(lambda: len(seen) >= count)
        return seen

    async def received(self, count: int) -> Sequence[Job]:
        return await self._until(self.agent.jobs, count)

    async def stopped(self, count: int) -> Sequence[AttemptId]:
        return await self._until(self.agent.stops, count)

    async def settle(self) -> None:
        """A drain frame goes the same way, and comes after everything before it."""
        before = self.agent.drains
        assert self.driver.send(self.machine_id, Drain(True))
        async with asyncio.timeout(PATIENCE_S), self.agent.moved:
            await self.agent.moved.wait_for(lambda: self.agent.drains > before)

    async def fill(self) -> None:
        """The agent reads nothing: the outbox fills up."""
        self.line.may_write.clear()
        while not self.line.outbox.full():
            await self.driver.submit(self.machine_id, a_job())

    async def cut(self) -> None:
        await self.agent.socket.close()
        async with asyncio.timeout(PATIENCE_S):
            await self._gone.wait()

    async def holds(self, attempt_id: AttemptId) -> bool:
        """It was assigned over a line that is still open, and never stopped."""
        await (await self.agent.socket.ping())
        return attempt_id in [job.attempt_id for job in self.agent.jobs] and attempt_id not in self.agent.stops


class TestClassic(DriverConformance):
    @pytest.fixture
    async def rig(self) -> AsyncIterator[ClassicRig]:
        """Both ends of a real connection."""
        rig = ClassicRig()
        async with serve(rig.serve_line, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", proxy=None) as socket:
                await socket.recv()
                rig.agent = AgentEnd(socket)
                reading = asyncio.create_task(rig.agent.read())
                yield rig
            await reading

    async def test_a_newer_line_takes_the_older_ones_place(self, rig: ClassicRig) -> None:
        """An agent that dialled again is reached by its new line; the old one's end does not detach the new one."""
        newer = SocketLine(rig.line.socket)
        assert rig.driver.attach(rig.machine_id, newer) is rig.line
        assert rig.driver.detach(rig.machine_id, rig.line) is False
        assert isinstance(await rig.driver.submit(rig.machine_id, a_job()), Handle)
        assert newer.outbox.qsize() == 1
        assert rig.line.outbox.empty()

    async def test_its_capabilities_are_those_of_an_agent(self, rig: ClassicRig) -> None:
        """It can cancel, shows previews, and the machine reports for itself."""
        capabilities = rig.driver.capabilities
        assert (capabilities.cancel, capabilities.previews, capabilities.agent) == (True, True, True)
