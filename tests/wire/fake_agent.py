"""A machine in a few lines: it enrols, says hello with the inventory it is given, and answers what it is asked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from drivers.object_info import Packed, pack
from drivers.wire import (
    AgentFrame,
    AskObjectInfo,
    Assign,
    GrantRequest,
    Hello,
    Inventory,
    Job,
    ObjectInfo,
    Output,
    ServerFrame,
)

PATIENCE_S = 60.0


class FakeAgent:
    """One connected machine. frames: what the orchestrator sent it."""

    def __init__(self, url: str, machine: dict[str, Any], socket: ClientConnection, told: Packed) -> None:
        self.url = url
        self.machine = machine
        self.frames: list[ServerFrame] = []
        self._socket = socket
        self._told = told

    async def listen(self) -> None:
        """Take what comes, and answer questions about node classes."""
        async for message in self._socket:
            frame = msgspec.json.decode(message, type=ServerFrame)
            if isinstance(frame, AskObjectInfo):
                await self._socket.send(msgspec.json.encode(ObjectInfo(frame.hash, self._told.body)).decode())
            self.frames.append(frame)

    async def has(self, kind: type) -> None:
        """Wait until a frame of this kind came."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(isinstance(frame, kind) for frame in self.frames):
                await asyncio.sleep(0.02)

    async def job(self) -> Job:
        """The newest job that it was given, once there is one."""
        await self.has(Assign)
        return [frame.job for frame in self.frames if isinstance(frame, Assign)][-1]

    async def send(self, frame: AgentFrame) -> None:
        """Say something by the line."""
        await self._socket.send(msgspec.json.encode(frame).decode())

    async def upload(self, job: Job, name: str, data: bytes, *, early: bool = False) -> str:
        """Store an output; returns its id."""
        sha256 = hashlib.sha256(data).hexdigest()
        asked = GrantRequest(job.attempt_id, name, "image/png", len(data), sha256, early)
        headers = {"Authorization": f"Bearer {job.token}"}
        async with httpx.AsyncClient(base_url=self.url) as client:
            body = msgspec.json.encode(asked)
            grant = (await client.post("/api/upload-grants", content=body, headers=headers)).json()
            assert (await client.put(grant["url"], content=data)).status_code == 204
        return grant["file_id"]

    async def work_off(self, job: Job, outputs: list[Output]) -> None:
        """Report that the job was done, and what came of it."""
        await self.report(job, "started", "running", "success", outputs=outputs)

    async def report(
        self,
        job: Job,
        *statuses: str,
        after: int = 0,
        outputs: list[Output] | None = None,
        failure: dict[str, Any] | None = None,
    ) -> None:
        """Report these statuses, the next after so many."""
        known = {"run_id": job.run_id, "attempt_id": job.attempt_id, "token": job.token}
        made = msgspec.to_builtins(outputs or [])
        events = [
            {**known, "seq": number, "status": status, "outputs": made if status == "success" else []}
            | ({"failure": failure} if status == "failed" else {})
            for number, status in enumerate(statuses, after + 1)
        ]
        headers = {"Authorization": f"Bearer {self.machine['credential']}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            answer = await client.post("/api/update-run", json={"events": events})
        assert answer.status_code == 200, answer.text
        assert [one["verdict"] for one in answer.json()["results"]] == ["applied"] * len(statuses)


async def register(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """A machine with an agent's credential, not connected yet."""
    answer = await api.post("/api/v1/machines", json={"name": f"machine {uuid4()}"} | more)
    assert answer.status_code == 201, answer.text
    machine = answer.json()
    token = (await api.post(f"/api/v1/machines/{machine['id']}/enrol-token")).json()["token"]
    machine["credential"] = (await api.post("/api/v1/agent/enrol", json={"token": token})).json()["credential"]
    return machine


@asynccontextmanager
async def connected(
    url: str,
    machine: dict[str, Any],
    inventory: Inventory,
    declared: dict[str, Any] | None = None,
    also: dict[str, Any] | None = None,
) -> AsyncIterator[FakeAgent]:
    """The machine, connected as long as this lasts. With declared classes, its inventory names what it answers.

    also: more that its inventory says, whether anybody knows it or not.
    """
    told = pack(declared or {})
    if declared is not None:
        inventory = msgspec.structs.replace(inventory, object_info=told.hash)
    headers = {"Authorization": f"Bearer {machine['credential']}"}
    address = url.replace("http", "ws", 1) + "/api/v1/agent/link"
    async with connect(address, additional_headers=headers, max_size=None) as socket:
        hello = msgspec.to_builtins(Hello(1, "fake", 1, inventory, []))
        hello["inventory"] |= also or {}
        await socket.send(msgspec.json.encode(hello).decode())
        agent = FakeAgent(url, machine, socket, told)
        listening = asyncio.create_task(agent.listen())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not agent.frames:
                    await asyncio.sleep(0.02)
            yield agent
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
