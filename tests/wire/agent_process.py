"""Starts the real agent as a process, with the tests' executor or the built-in one, and ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from drivers.wire import AttemptId, Job, JobFile, LeaseToken, RunId
from tests.wire.fake_orchestrator import ENROL_TOKEN, FakeOrchestrator

FAKE_EXECUTOR = (
    f"{sys.executable} {Path(__file__).parent / 'fake_executor.py'} "
    "--port {port} --input-directory {input} --output-directory {output}"
)


class AgentProcess:
    """One agent on one data folder; `start` again after it ended."""

    def __init__(self, data: Path, orchestrator: FakeOrchestrator, executor: str = FAKE_EXECUTOR) -> None:
        self.data = data
        self.orchestrator = orchestrator
        self.executor = executor
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str, environment: dict[str, str] | None = None) -> None:
        connections = self.orchestrator.connections
        command = [sys.executable, "-m", "machine_agent", "run", "--data", str(self.data), "--executor", self.executor]
        command += ["--url", self.orchestrator.url, "--enrol-token", ENROL_TOKEN, *options]
        with (self.data.parent / "agent.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        await self.orchestrator.until(lambda: self.orchestrator.connections > connections)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        return await asyncio.wait_for(self.process.wait(), 30)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def executors(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    async def executor_pid(self) -> int:
        """The pid of the first executor, once there is one."""
        async with asyncio.timeout(20):
            while not (running := self.executors()):
                await asyncio.sleep(0.02)
        return running[0].pid

    def go(self) -> None:
        """Let Wait nodes of the first executor finish."""
        (self.data / "executors" / "0" / "go").touch()

    def spooled(self) -> list[Path]:
        """The attempts that the agent has on disk."""
        return list((self.data / "spool").glob("*.jsonl"))

    @property
    def log(self) -> str:
        return (self.data.parent / "agent.log").read_text()


async def until(condition: Callable[[], object], timeout: float = 20) -> None:
    """Wait for something to be seen on disk or in a log."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


def job(attempt: str, workflow: dict, files: list[JobFile] | None = None, timeout_s: int = 60, **more: Any) -> Job:
    return Job(
        run_id=RunId(f"run-{attempt}"),
        attempt_id=AttemptId(attempt),
        number=1,
        token=LeaseToken(f"token-{attempt}"),
        workflow=workflow,
        timeout_s=timeout_s,
        files=files or [],
        **more,
    )


def copying(extra: dict | None = None) -> dict:
    """A workflow that copies its input file `photo` to an output."""
    load = {"class_type": "LoadFile", "inputs": {"file": "fleet-file:photo"}}
    return {"1": load, **(extra or {}), "9": {"class_type": "SaveFile", "inputs": {"file": ["1", 0]}}}


def waiting() -> dict:
    """The copying workflow, which first waits for `go`."""
    return copying({"2": {"class_type": "Wait", "inputs": {}}})


async def vanished(pid: int) -> None:
    """Wait until a process is gone."""
    async with asyncio.timeout(20):
        while True:
            try:
                os.kill(pid, 0)
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return
            except (ProcessLookupError, psutil.NoSuchProcess):
                return
            await asyncio.sleep(0.02)
