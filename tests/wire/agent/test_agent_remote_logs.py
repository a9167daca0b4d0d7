"""What a server at a URL writes while it works on a run of ours is told as the run's, and nothing else of it."""

from __future__ import annotations

import asyncio
import socket
import sys
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from drivers.wire import Log
from tests.executor.process import Client, Executor
from tests.wire.agent_process import AgentProcess, job, until
from tests.wire.fake_orchestrator import FakeOrchestrator

pytestmark = pytest.mark.anyio
PACK = Path(__file__).resolve().parents[2] / "fixtures" / "secretive"
_turns = count()
UNKNOWING = Path(__file__).resolve().parents[1] / "fake_executor.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def printing(name: str, wait_for: str = "") -> dict:
    """Prints a variable of the server's environment."""
    inputs = {"name": name, "slip": "print", "turn": next(_turns), "wait_for": wait_for}
    return {"1": {"class_type": "TellSecret", "inputs": inputs}}


def told(orchestrator: FakeOrchestrator, attempt: str) -> str:
    """The lines of an attempt."""
    frames = [frame for frame in orchestrator.frames_of(Log) if frame.attempt_id == attempt]
    return "\n".join(line for frame in frames for line in frame.lines)


async def test_lines_of_our_run_are_told_and_those_of_others_are_not(
    orchestrator: FakeOrchestrator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours waits behind another client's prompt that prints too; afterwards the server sends its log to nobody."""
    monkeypatch.setenv("OURS", "what ours prints")
    monkeypatch.setenv("THEIRS", "what theirs prints")
    (tmp_path / "server").mkdir()
    server = Executor(tmp_path / "server", "--custom-nodes", str(PACK))
    agent = AgentProcess(tmp_path / "data", orchestrator, server.url)
    try:
        await agent.start()
        async with aiohttp.ClientSession() as session:
            other = Client(server.url, session, "other")
            await other.connect()
            first = await other.queue(printing("THEIRS", str(tmp_path / "go")))
            await orchestrator.assign(job("a1", printing("OURS")))
            async with asyncio.timeout(20):
                while not (await other.get("/queue"))["queue_pending"]:
                    await asyncio.sleep(0.02)
            (tmp_path / "go").touch()
            await other.until_end(first)
            assert (await orchestrator.ended("a1")).failure is None
            await orchestrator.until(lambda: "what ours prints" in told(orchestrator, "a1"))
            await other.run(printing("THEIRS"))
            await orchestrator.assign(job("a2", printing("OURS")))
            await orchestrator.ended("a2")
            await other.socket.close()
        await orchestrator.until(lambda: "what ours prints" in told(orchestrator, "a2"))
        assert "what theirs prints" not in told(orchestrator, "a1") + told(orchestrator, "a2")
        assert server.log.read_text().count("what theirs prints") >= 2
    finally:
        await agent.kill()
        server.stop()


async def test_a_server_that_tells_nothing_of_its_log_is_said_to(
    orchestrator: FakeOrchestrator, tmp_path: Path
) -> None:
    """One line in the run's log says why there is no other, and the run goes well."""
    port = free_port()
    folders = ["--input-directory", str(tmp_path / "in"), "--output-directory", str(tmp_path / "out")]
    server = await asyncio.create_subprocess_exec(sys.executable, str(UNKNOWING), "--port", str(port), *folders)
    agent = AgentProcess(tmp_path / "data", orchestrator, f"http://127.0.0.1:{port}")
    try:
        await agent.start()
        await until(lambda: "executor_up" in agent.log)
        await orchestrator.assign(job("a1", {"1": {"class_type": "Text", "inputs": {"text": "x"}}}))
        assert (await orchestrator.ended("a1")).failure is None
        await orchestrator.until(lambda: told(orchestrator, "a1"))
        assert told(orchestrator, "a1") == "this executor tells nothing of its log"
    finally:
        await agent.kill()
        server.kill()
        await server.wait()
