"""The real agent with the real executor: a photo is enlarged with real weights, and the executor is well behaved."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from drivers.wire import AttemptId, JobFile, Progress, Stop
from tests.wire.agent_process import AgentProcess, job, until
from tests.wire.fake_orchestrator import FakeOrchestrator

pytestmark = pytest.mark.anyio
DEMO = Path(__file__).resolve().parents[3] / "deploy" / "demo"
PACKS = Path(__file__).resolve().parents[2] / "packs"


@pytest.fixture
async def agent(orchestrator: FakeOrchestrator, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    process = AgentProcess(tmp_path / "data", orchestrator, "comfy_core")
    packs = f"--custom-nodes {PACKS}/plain {PACKS}/import_error {PACKS}/wanting"
    await process.start("--models", str(DEMO / "models"), "--executor-args", packs)
    yield process
    await process.kill()


def enlarging(width: int = 64) -> dict:
    """The demo's workflow, smaller, with its photo as a plain LoadImage."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "fleet-file:photo"}},
        "2": {
            "class_type": "ImageScale",
            "inputs": {"image": ["1", 0], "upscale_method": "area", "width": width, "height": 0, "crop": "disabled"},
        },
        "3": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "realesr-animevideov3-x4.safetensors"}},
        "4": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["3", 0], "image": ["2", 0]}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "demo/x"}},
    }


def photo(orchestrator: FakeOrchestrator) -> JobFile:
    return orchestrator.file("photo", (DEMO / "photos" / "chelsea.png").read_bytes())


async def test_photo_is_enlarged_twice(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """The image that comes back is four times as wide and a PNG, also from the cache, also when its file is gone."""
    for attempt in ("a1", "a2", "a3"):
        await orchestrator.assign(job(attempt, enlarging(), [photo(orchestrator)]))
        event = await orchestrator.ended(attempt, 120)
        assert event.failure is None
        assert event.status == "success"
        assert [(output.node_id, output.kind) for output in event.outputs] == [("5", "images")]
        if attempt == "a2":
            for path in (agent.data / "executors" / "0" / "output").rglob("*.png"):
                path.unlink()
    with Image.open(io.BytesIO(orchestrator.uploads["file-1"])) as image:
        assert (image.format, image.width) == ("PNG", 256)
    assert orchestrator.grants[0].content_type == "image/png"
    assert orchestrator.frames_of(Progress)


async def test_inventory_of_the_real_executor(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """Its node classes, versions and packs, and the demo's model with its hash, reach the orchestrator."""
    await orchestrator.until(
        lambda: any(
            frame.inventory.node_classes and all(model.sha256 for model in frame.inventory.models)
            for frame in orchestrator.inventories
        ),
        60,
    )
    inventory = orchestrator.inventories[-1].inventory
    assert {"LoadImage", "SaveImage", "ImageUpscaleWithModel", "PackAdd"} <= set(inventory.node_classes)
    packs = {pack.name: pack for pack in inventory.packs}
    assert {name: pack.status for name, pack in packs.items()} == {
        "plain": "loaded",
        "import_error": "failed",
        "wanting": "loaded",
    }
    assert "no_such_module_anywhere" in (packs["import_error"].reason or "")
    assert "missing-by-pyproject>=2" in packs["wanting"].missing
    assert [model.name for model in inventory.models] == ["realesr-animevideov3-x4.safetensors"]
    assert "torch" in inventory.versions


async def test_stop_and_crash(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """A long run is stopped in the middle of its tiles; a killed executor is replaced; the next job succeeds."""

    def upscaling(attempt: str) -> bool:
        frames = orchestrator.frames_of(Progress)
        return any(frame.attempt_id == attempt and frame.node_id == "4" for frame in frames)

    await orchestrator.assign(job("a1", enlarging(2000), [photo(orchestrator)]))
    await orchestrator.until(lambda: upscaling("a1"), 60)
    await orchestrator.send(Stop(AttemptId("a1"), "cancelled"))
    await orchestrator.assign(job("a2", enlarging(1999), [photo(orchestrator)]))
    await orchestrator.until(lambda: upscaling("a2"), 60)
    os.kill(await agent.executor_pid(), signal.SIGKILL)
    failure = (await orchestrator.ended("a2")).failure
    assert failure is not None
    assert failure.kind == "executor_crashed"
    await orchestrator.assign(job("a3", enlarging(32), [photo(orchestrator)]))
    assert (await orchestrator.ended("a3", 120)).status == "success"
    assert orchestrator.statuses("a1") == ["started", "running"]


async def test_executor_killed_while_its_output_is_uploaded(
    orchestrator: FakeOrchestrator, agent: AgentProcess
) -> None:
    """The executor that takes its place leaves the finished image alone: it is uploaded from where it lies."""
    orchestrator.failing_puts = 10**6
    await orchestrator.assign(job("a1", enlarging(), [photo(orchestrator)]))
    await until(lambda: "upload_retry" in agent.log, 60)
    pid = await agent.executor_pid()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: agent.log.count("executor_up") == 2, 60)
    orchestrator.failing_puts = 0
    event = await orchestrator.ended("a1", 60)
    assert (event.status, len(orchestrator.uploads)) == ("success", 1)


async def test_an_output_that_vanishes_fails_its_attempt_at_once(
    orchestrator: FakeOrchestrator, agent: AgentProcess
) -> None:
    """No later try brings a lost file back: the orchestrator is told, and may have the run done again."""
    orchestrator.failing_puts = 10**6
    await orchestrator.assign(job("a1", enlarging(), [photo(orchestrator)]))
    await until(lambda: "upload_retry" in agent.log, 60)
    for path in (agent.data / "executors" / "0" / "output").rglob("*.png"):
        path.unlink()
    failure = (await orchestrator.ended("a1", 60)).failure
    assert failure is not None
    assert failure.kind == "upload_failed"
    assert "cannot be read" in failure.message
    orchestrator.failing_puts = 0
    await orchestrator.assign(job("a2", enlarging(48), [photo(orchestrator)]))
    assert (await orchestrator.ended("a2", 60)).status == "success"


async def test_real_refusals(orchestrator: FakeOrchestrator, agent: AgentProcess) -> None:
    """An unknown node and a missing input come back as bad_graph, naming the node."""
    await orchestrator.assign(job("a1", {"7": {"class_type": "NoSuchNode", "inputs": {}}}))
    failure = (await orchestrator.ended("a1", 60)).failure
    assert failure is not None
    assert failure.kind == "bad_graph"
    assert "NoSuchNode" in failure.message
    broken = enlarging()
    del broken["2"]["inputs"]["width"]
    await orchestrator.assign(job("a2", broken, [photo(orchestrator)]))
    failure = (await orchestrator.ended("a2", 60)).failure
    assert failure is not None
    assert (failure.kind, failure.node_id, failure.node_type) == ("bad_graph", "2", "ImageScale")
