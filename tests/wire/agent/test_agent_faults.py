"""The real agent process when things go wrong around it: what is killed, cut off or refused loses no report."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from drivers.wire import Declined, Hello, InventoryChanged
from tests.wire.agent_process import AgentProcess, copying, job, until, vanished, waiting
from tests.wire.fake_orchestrator import ENROL_TOKEN, FakeOrchestrator, beats

pytestmark = pytest.mark.anyio
PHOTO = b"a photo" * 1000


async def running(orchestrator: FakeOrchestrator, attempt: str = "a1") -> None:
    """Assign a job that waits for `go`, and wait until it runs."""
    await orchestrator.assign(job(attempt, waiting(), [orchestrator.file("photo", PHOTO)]))
    await orchestrator.until(lambda: "running" in orchestrator.statuses(attempt))


async def test_orchestrator_down_during_a_run(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A run that ends while the orchestrator is away is uploaded and reported in order once it is back."""
    await running(orchestrator)
    await orchestrator.stop()
    agent.go()
    await until(lambda: "report_retry" in agent.log and "upload_retry" in agent.log)
    await orchestrator.start()
    await orchestrator.ended("a1")
    assert orchestrator.statuses("a1") == ["started", "running", "uploading", "success"]
    assert list(orchestrator.uploads.values()) == [PHOTO]
    await until(lambda: not agent.spooled())
    await orchestrator.until(lambda: len(orchestrator.frames_of(Hello)) == 2)
    assert orchestrator.frames_of(Hello)[1].attempts in (["a1"], [])  # what it holds, or all told by then


async def test_executor_killed(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """An executor killed in mid-run fails the run as crashed; the next job finds a new executor."""
    pid = await agent.executor_pid()
    await running(orchestrator)
    os.kill(pid, signal.SIGKILL)
    failure = (await orchestrator.ended("a1")).failure
    assert failure.kind == "executor_crashed"
    assert "SIGKILL" in failure.message
    await orchestrator.assign(job("a2", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a2")).status == "success"
    assert await agent.executor_pid() != pid


async def test_agent_killed(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """An agent killed in mid-run takes its executor along, and reports the run as failed on its next start."""
    pid = await agent.executor_pid()
    await running(orchestrator)
    await agent.kill()
    await vanished(pid)
    await agent.start()
    event = await orchestrator.ended("a1")
    assert (event.failure.kind, event.seq) == ("agent_restarted", 3)
    assert orchestrator.frames_of(Hello)[-1].attempts in (["a1"], [])
    await orchestrator.assign(job("a2", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a2")).status == "success"


async def test_agent_killed_while_orchestrator_down(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """Reports that were never sent survive a kill of the agent and go out first after the restart."""
    await running(orchestrator)
    await orchestrator.stop()
    agent.go()
    await until(lambda: b'"uploading"' in (agent.data / "spool" / "a1.jsonl").read_bytes())
    await agent.kill()
    await orchestrator.start()
    await agent.start()
    event = await orchestrator.ended("a1")
    assert orchestrator.statuses("a1") == ["started", "running", "uploading", "failed"]
    assert event.failure.kind == "agent_restarted"
    await until(lambda: not agent.spooled())


async def test_sigterm_drains(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """SIGTERM lets the running job finish, declines new ones, then ends the process with 0 and its executor."""
    pid = await agent.executor_pid()
    await running(orchestrator)
    agent.signal(signal.SIGTERM)
    await orchestrator.until(lambda: any(frame.slots == 0 for frame in orchestrator.frames_of(InventoryChanged)))
    await orchestrator.assign(job("a2", copying()))
    await orchestrator.until(lambda: orchestrator.frames_of(Declined))
    agent.go()
    assert (await orchestrator.ended("a1")).status == "success"
    assert await agent.wait() == 0
    await vanished(pid)
    assert not agent.spooled()


@pytest.mark.parametrize("how", ["second signal", "grace over"])
async def test_drain_cut_short(orchestrator: FakeOrchestrator, tmp_path: Path, how: str) -> None:
    """A second signal, or the end of the grace, stops the run at once and reports it as agent_restarted."""
    agent = AgentProcess(tmp_path / "data", orchestrator)
    await agent.start("--drain-s", "60" if how == "second signal" else "0.5")
    await running(orchestrator)
    agent.signal(signal.SIGTERM)
    if how == "second signal":
        await until(lambda: "draining" in agent.log)
        agent.signal(signal.SIGTERM)
    assert await agent.wait() == 0
    event = orchestrator.last("a1")
    assert (event.status, event.failure.kind) == ("failed", "agent_restarted")


async def test_poison_report(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A report the orchestrator will not take is put aside, fails its own run, and holds nobody else up."""
    orchestrator.unacceptable.add(("a1", "success"))
    await running(orchestrator)
    await orchestrator.stop()
    agent.go()
    await until(lambda: "upload_retry" in agent.log)
    await orchestrator.start()
    failure = (await orchestrator.ended("a1")).failure
    assert failure.kind == "internal"
    assert "not acceptable" in failure.message
    assert (agent.data / "spool" / "rejected" / "a1.4.json").exists()
    await orchestrator.assign(job("a2", copying(), [orchestrator.file("photo", PHOTO)]))
    assert (await orchestrator.ended("a2")).status == "success"


async def test_foreign_report_stops_the_run(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A verdict with `stop` interrupts the executor and empties the spool."""
    await running(orchestrator)
    orchestrator.stale.add("a1")
    agent.go()
    await until(lambda: not agent.spooled())
    assert orchestrator.statuses("a1") == ["started", "running"]


async def test_revoked_agent_waits(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A revoked credential is said in the log, and the agent stays alive."""
    orchestrator.revoked = True
    await orchestrator.stop()
    await orchestrator.start()
    await until(lambda: "link_refused" in agent.log)
    assert agent.process.returncode is None


async def test_refused_token(orchestrator: FakeOrchestrator, tmp_path: Path) -> None:
    """A token that is refused ends the command with exit code 2 and the orchestrator's own reason."""
    command = [sys.executable, "-m", "machine_agent", "enrol", "--url", orchestrator.url]
    process = await asyncio.create_subprocess_exec(
        *command, "--token", "wrong", "--data", str(tmp_path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"this token was used already" in said
    assert not (tmp_path / "agent.json").exists()


async def test_enrol_then_run(orchestrator: FakeOrchestrator, tmp_path: Path) -> None:
    """`enrol` stores the credential that `run` then uses without a token."""
    command = [sys.executable, "-m", "machine_agent"]
    enrol = await asyncio.create_subprocess_exec(
        *command, "enrol", "--url", orchestrator.url, "--token", ENROL_TOKEN, "--data", str(tmp_path)
    )
    assert await enrol.wait() == 0
    run = await asyncio.create_subprocess_exec(*command, "run", "--data", str(tmp_path), "--executor", "sleep 60")
    await orchestrator.until(lambda: orchestrator.connections == 1)
    run.terminate()
    assert await run.wait() == 0


async def test_two_slots(orchestrator: FakeOrchestrator, tmp_path: Path) -> None:
    """Two slots run two jobs at once on two executors, and a third is declined."""
    agent = AgentProcess(tmp_path / "data", orchestrator)
    await agent.start("--slots", "2")
    try:
        await running(orchestrator, "a1")
        await running(orchestrator, "a2")
        await orchestrator.until(lambda: beats(orchestrator)[-1].used == 2)
        await orchestrator.assign(job("a3", copying()))
        await orchestrator.until(lambda: orchestrator.frames_of(Declined))
        agent.go()
        (agent.data / "executors" / "1" / "go").touch()
        assert (await orchestrator.ended("a1")).status == "success"
        assert (await orchestrator.ended("a2")).status == "success"
    finally:
        await agent.kill()
