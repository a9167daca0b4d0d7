"""The samples of docs/API, run page by page from top to bottom against a real orchestrator with a real machine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest

from drivers.wire import AgentFrame, ServerFrame
from tests.wire import api_pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "API").glob("*.md"))
PATIENCE_S = 60
pytestmark = pytest.mark.anyio

GRAPH = {
    "1": {"class_type": "ComfyUIDeployExternalImage", "inputs": {"input_id": "photo"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "negative"}},
}


def _known(orchestrator) -> dict[str, str]:
    """What the reader of a page has: an address, the first administrator's login and key."""
    return {
        "url": orchestrator.url,
        "email": orchestrator.email,
        "password": orchestrator.password,
        "api_key": orchestrator.api_key,
    }


@pytest.fixture(scope="module")
def gpu_box(orchestrator, tmp_path_factory) -> Iterator[dict[str, str]]:
    """A connected machine, a deployed workflow and an uploaded photo: what the page on runs begins with."""
    with httpx.Client(base_url=orchestrator.url, headers=orchestrator.headers, timeout=20) as client:
        machine = client.post("/api/v1/machines", json={"name": "gpu-box", "labels": {"gpu": "4090"}}).json()
        token = client.post(f"/api/v1/machines/{machine['id']}/enrol-token").json()["token"]
        workflow = client.post("/api/v1/workflows", json={"name": "negative", "api_graph": GRAPH}).json()
        version = workflow["version"]["id"]
        deployment = client.post("/api/v1/deployments", json={"version_id": version}).json()
        photo = ROOT / "deploy" / "demo" / "photos" / "rocket.jpg"
        file = client.post("/api/v1/files", files={"file": ("rocket.jpg", photo.read_bytes(), "image/jpeg")}).json()
    data = tmp_path_factory.mktemp("gpu-box")
    command = [sys.executable, "-m", "machine_agent", "run", "--url", orchestrator.url, "--data", str(data)]
    with (data / "agent.log").open("ab") as log:
        agent = subprocess.Popen([*command, "--enrol-token", token], cwd=ROOT, stdout=log, stderr=log)
    try:
        yield {
            "machine_id": machine["id"],
            "workflow_id": workflow["id"],
            "version_id": version,
            "deployment_id": deployment["id"],
            "photo_id": file["id"],
        }
    finally:
        agent.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            agent.wait(15)
        agent.kill()
        agent.wait()


async def _until_it_has_nodes(client: httpx.AsyncClient, machine_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            machine = (await client.get(f"/api/v1/machines/{machine_id}")).json()
            if machine["connected"] and machine.get("inventory", {}).get("node_classes"):
                return
            await asyncio.sleep(0.1)


async def _run(page: Path, orchestrator, known: dict[str, str]) -> int:
    """Run a page; returns how many requests it made."""
    count = 0
    async with httpx.AsyncClient(base_url=orchestrator.url, timeout=PATIENCE_S) as client:
        for request, answer in api_pages.exchanges(page):
            try:
                response = await api_pages.send(client, request, known)
                if answer is not None:
                    api_pages.compare(api_pages.read_answer(answer), response, known)
                elif not response.is_success:
                    raise api_pages.Differs(f"answered {response.status_code}: {response.text}")
            except api_pages.Differs as difference:
                raise AssertionError(f"{page.name}:{request.line} {difference}") from difference
            count += 1
    return count


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "runs"], ids=lambda page: page.stem)
async def test_every_sample_of_a_page_is_answered_as_it_says(page: Path, orchestrator):
    """Each request of the page, sent in order, gets the status, the headers and the body that the page shows."""
    sent = await _run(page, orchestrator, _known(orchestrator))
    assert sent or not [block for block in api_pages.blocks(page) if block.language == "http"]


async def test_the_page_on_runs_is_true_of_a_run_that_a_machine_executes(api, orchestrator, gpu_box):
    """A real agent with the built-in executor makes the picture that docs/API/runs.md downloads."""
    await _until_it_has_nodes(api, gpu_box["machine_id"])
    assert await _run(ROOT / "docs" / "API" / "runs.md", orchestrator, {**_known(orchestrator), **gpu_box}) > 8


def test_the_frames_shown_are_frames():
    """Every frame on the page about agents decodes as one, with no member that the wire does not have."""
    shown = [block for block in api_pages.blocks(ROOT / "docs" / "API" / "agents.md") if block.language == "json"]
    assert len(shown) >= 6
    for block in shown:
        frame = msgspec.json.decode(block.text.encode(), type=AgentFrame | ServerFrame)
        told = set(msgspec.json.decode(block.text)) - {"type"}
        assert told <= set(type(frame).__struct_fields__), f"line {block.line}"
