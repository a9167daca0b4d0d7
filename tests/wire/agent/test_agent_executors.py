"""One agent, three kinds of executor: ours, a checkout that it starts, and a server that somebody else runs.

Our server plays all three. Where COMFYUI_DIR names a ComfyUI checkout (and COMFYUI_PYTHON its Python, unless it has a
venv), the demo's workflow runs on the real one too.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from PIL import Image

from drivers.wire import AttemptId, Progress, Stop
from tests.executor.process import Client, Executor, n
from tests.wire.agent_process import AgentProcess, job, until
from tests.wire.fake_orchestrator import FakeOrchestrator

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "deploy" / "demo"
REAL = os.environ.get("COMFYUI_DIR")
MAIN = f"""
import json, os, pathlib, sys
pathlib.Path("argv.json").write_text(json.dumps(sys.argv[1:]))
os.environ["PYTHONPATH"] = {str(ROOT)!r}
os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "comfy_core", *sys.argv[1:]])
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What looks like a ComfyUI checkout."""
    folder = tmp_path / "check out"
    folder.mkdir()
    (folder / "main.py").write_text(MAIN)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """A server that somebody else runs, with the demo's model."""
    base = tmp_path_factory.mktemp("server")
    (base / "models").symlink_to(DEMO / "models")
    running = Executor(base)
    yield running
    running.stop()


def demo(laid: str = "fleet-file:photo") -> dict:
    """The demo's workflow with its photo laid in, as the orchestrator sends it."""
    workflow = json.loads((DEMO / "workflow.json").read_text())
    workflow["1"]["inputs"]["input_id"] = laid
    workflow["2"]["inputs"]["width"] = 48
    return workflow


async def enlarged(orchestrator: FakeOrchestrator, attempt: str, workflow: dict | None = None) -> Image.Image:
    """Run the demo and return its picture."""
    file = orchestrator.file("photo", (DEMO / "photos" / "chelsea.png").read_bytes())
    await orchestrator.assign(job(attempt, workflow or demo(), [file], timeout_s=170))
    event = await orchestrator.ended(attempt, 180)
    assert event.failure is None, event.failure
    assert [(output.node_id, output.kind) for output in event.outputs] == [("5", "images")]
    assert event.timings is not None
    assert event.timings.peak_bytes > 100_000_000  # what it says itself, or what the agent saw of a process
    known = next(iter(orchestrator.uploads.values()))  # the same picture again is not sent again
    return Image.open(io.BytesIO(orchestrator.uploads.get(event.outputs[0].file_id, known)))


async def test_a_checkout_is_started_by_comfyuis_own_flags(
    orchestrator: FakeOrchestrator, data: Path, checkout: Path
) -> None:
    """Its models come by extra_model_paths, its arguments last; it is started again after a crash; it dies with us."""
    agent = AgentProcess(data, orchestrator, f"comfyui:{checkout}")
    await agent.start("--models", str(DEMO / "models"), "--executor-python", sys.executable)
    try:
        with await enlarged(orchestrator, "a1") as picture:
            assert picture.width == 192
        argv = json.loads((checkout / "argv.json").read_text())
        assert {"--extra-model-paths-config", "--user-directory", "--cpu"} <= set(argv)
        assert not {"--models-directory", "--die-with-parent", "--threads"} & set(argv)
        first = await agent.executor_pid()
        os.kill(first, signal.SIGKILL)
        await until(lambda: "executor_restart" in agent.log)
        await enlarged(orchestrator, "a2")
        second = psutil.Process(await agent.executor_pid())
        assert second.pid != first
        await agent.kill()
        second.wait(10)
    finally:
        await agent.kill()


async def test_runs_do_not_see_each_others_files(orchestrator: FakeOrchestrator, data: Path, checkout: Path) -> None:
    """Each run has a directory of its own: the file of another cannot be named, and nothing is left behind."""
    agent = AgentProcess(data, orchestrator, "comfy_core")
    await agent.start("--models", str(DEMO / "models"))
    home = data / "executors" / "0"
    try:
        await enlarged(orchestrator, "a1")
        (home / "output" / "run-a1").mkdir(exist_ok=True)
        (home / "output" / "run-a1" / "secret.png").write_bytes((DEMO / "photos" / "chelsea.png").read_bytes())
        secret = home / "output" / "run-a1" / "secret.png"
        for attempt, name in enumerate(("../run-a1/secret.png [output]", "run-a1/secret.png [output]", str(secret))):
            spying = {"1": n("LoadImage", image=name), "2": n("SaveImage", images=["1", 0], filename_prefix="x")}
            await orchestrator.assign(job(f"spy-{attempt}", spying))
            failure = (await orchestrator.ended(f"spy-{attempt}", 60)).failure
            assert failure is not None
            assert failure.kind == "bad_graph"
        await enlarged(orchestrator, "a2")
        left = [path.name for kind in ("input", "output", "temp") for path in (home / kind).rglob("run-*")]
        assert left == ["run-a1"]  # the one we made ourselves
    finally:
        await agent.kill()


async def test_a_server_at_a_url_is_used_and_left_alone(
    orchestrator: FakeOrchestrator, data: Path, server: Executor
) -> None:
    """Inputs go by upload, outputs come by /view; another client's prompt keeps its turn and its cached results."""
    agent = AgentProcess(data, orchestrator, server.url)
    await agent.start()
    try:
        async with aiohttp.ClientSession() as session:
            other = Client(server.url, session, "other")
            await other.connect()
            theirs = {"a": n("PrimitiveInt", value=123), "o": n("PreviewAny", source=["a", 0])}
            await other.run(theirs)
            with await enlarged(orchestrator, "a1") as picture:
                assert picture.width == 192
            assert len(await other.get("/history")) == 1  # theirs; ours is forgotten
            await other.socket.close()
        assert not psutil.Process(agent.process.pid).children()
        assert not list((data / "executors" / "0").rglob("*.png"))
        assert not list((server.base / "output").rglob("*.png"))
        await orchestrator.until(lambda: any(told.inventory.models for told in orchestrator.inventories), 30)
        models = orchestrator.inventories[-1].inventory.models
        assert "realesr-animevideov3-x4.safetensors" in {model.name for model in models}
    finally:
        await agent.kill()
    assert server.process.poll() is None


async def test_a_stopped_run_does_not_interrupt_another_clients_prompt(
    orchestrator: FakeOrchestrator, data: Path, server: Executor
) -> None:
    """Ours waits behind theirs and is taken out of the queue; theirs goes on to its end."""
    photo = (DEMO / "photos" / "chelsea.png").read_bytes()
    (server.base / "input").mkdir(exist_ok=True)
    (server.base / "input" / "theirs.png").write_bytes(photo)
    agent = AgentProcess(data, orchestrator, server.url)
    await agent.start()
    try:
        async with aiohttp.ClientSession() as session:
            other = Client(server.url, session, "other")
            await other.connect()
            long = demo("theirs.png")
            long["2"]["inputs"]["width"] = 300
            prompt_id = await other.queue(long)
            while (await other.hear())["type"] != "progress":
                pass
            await orchestrator.assign(job("a1", demo(), [orchestrator.file("photo", photo)]))
            await orchestrator.until(lambda: "running" in orchestrator.statuses("a1"))
            async with asyncio.timeout(20):
                while not (await other.get("/queue"))["queue_pending"]:
                    await asyncio.sleep(0.02)
            await orchestrator.send(Stop(AttemptId("a1"), "cancelled"))
            async with asyncio.timeout(20):
                while (await other.get("/queue"))["queue_pending"]:
                    await asyncio.sleep(0.02)
            await other.until_end(prompt_id)
            entry = (await other.get(f"/history/{prompt_id}"))[prompt_id]
            assert entry["status"]["status_str"] == "success"
            await other.socket.close()
    finally:
        await agent.kill()


async def test_a_server_that_goes_away_fails_its_run_and_is_taken_up_again(
    orchestrator: FakeOrchestrator, data: Path, tmp_path: Path
) -> None:
    """The run fails as crashed; the next one runs on the server that came back at the same address."""
    (tmp_path / "models").symlink_to(DEMO / "models")
    server = Executor(tmp_path)
    agent = AgentProcess(data, orchestrator, server.url)
    await agent.start()
    try:
        long = demo()
        long["2"]["inputs"]["width"] = 1500
        photo = orchestrator.file("photo", (DEMO / "photos" / "chelsea.png").read_bytes())
        await orchestrator.assign(job("a1", long, [photo]))
        await orchestrator.until(lambda: orchestrator.frames_of(Progress))
        server.stop(signal.SIGKILL)
        failure = (await orchestrator.ended("a1", 60)).failure
        assert failure is not None
        assert (failure.kind, "no longer answers" in failure.message) == ("executor_crashed", True)
        server = Executor(tmp_path, "--port", str(server.port))
        await enlarged(orchestrator, "a2")
    finally:
        await agent.kill()
        server.stop()


def seen_devices(agent: AgentProcess) -> list[str]:
    """What the agent's children are told to see; one that is still starting is told nothing yet."""
    return sorted(one.environ().get("CUDA_VISIBLE_DEVICES", "") for one in agent.executors())


async def test_each_gpu_has_an_executor_that_sees_only_it(orchestrator: FakeOrchestrator, tmp_path: Path) -> None:
    """Two GPUs make two slots; each executor's environment names its own device."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text("#!/bin/sh\necho 'Fake A, 1000'\necho 'Fake B, 2000'\n")
    (tools / "nvidia-smi").chmod(stat.S_IRWXU)
    agent = AgentProcess(tmp_path / "data", orchestrator)
    await agent.start(environment={"PATH": f"{tools}:{os.environ['PATH']}"})
    try:
        await until(lambda: seen_devices(agent) == ["0", "1"])
        await orchestrator.until(lambda: any(told.inventory.gpus for told in orchestrator.inventories))
        told = orchestrator.inventories[-1]
        assert told.slots == 2
        assert [gpu.name for gpu in told.inventory.gpus] == ["Fake A", "Fake B"]
    finally:
        await agent.kill()


async def test_an_executor_is_recycled_between_runs_only(orchestrator: FakeOrchestrator, data: Path) -> None:
    """After its second run it is started afresh; no run fails for it, and the one that comes meanwhile waits."""
    agent = AgentProcess(data, orchestrator)
    await agent.start("--recycle-runs", "2")
    try:
        pids = []
        for attempt in ("a1", "a2", "a3"):
            await orchestrator.assign(job(attempt, {"1": {"class_type": "Text", "inputs": {"text": attempt}}}))
            await orchestrator.until(lambda attempt=attempt: "running" in orchestrator.statuses(attempt))
            pids.append(await agent.executor_pid())
            assert (await orchestrator.ended(attempt)).status == "success"
        assert pids[0] == pids[1] != pids[2]
        await until(lambda: "it has done 2 runs" in agent.log)
    finally:
        await agent.kill()


async def test_an_executor_that_holds_too_much_is_recycled(orchestrator: FakeOrchestrator, data: Path) -> None:
    """More memory after a run than allowed: it is started afresh."""
    agent = AgentProcess(data, orchestrator)
    await agent.start("--recycle-memory-gb", "0.001")
    try:
        await orchestrator.assign(job("a1", {"1": {"class_type": "Text", "inputs": {"text": "x"}}}))
        assert (await orchestrator.ended("a1")).status == "success"
        await until(lambda: "executor_recycled" in agent.log and "more than 0.001" in agent.log)
    finally:
        await agent.kill()


@pytest.mark.skipif(REAL is None, reason="COMFYUI_DIR names no ComfyUI checkout")
async def test_the_demo_runs_on_a_real_comfyui(orchestrator: FakeOrchestrator, data: Path) -> None:
    """Started from its checkout: the deployed input node is said with core nodes, twice the same picture comes back."""
    agent = AgentProcess(data, orchestrator, f"comfyui:{REAL}")
    python = os.environ.get("COMFYUI_PYTHON")
    await agent.start("--models", str(DEMO / "models"), *(["--executor-python", python] if python else []))
    try:
        for attempt in ("a1", "a2"):
            with await enlarged(orchestrator, attempt) as picture:
                assert (picture.format, picture.width) == ("PNG", 192)
        missing = demo()
        missing["1"]["class_type"] = "ComfyUIDeployExternalVideo"
        await orchestrator.assign(job("a3", missing, [orchestrator.file("photo", b"x")]))
        failure = (await orchestrator.ended("a3", 60)).failure
        assert failure is not None
        assert failure.kind == "bad_graph"
        assert "ComfyUIDeployExternalVideo" in failure.message
    finally:
        await agent.kill()
