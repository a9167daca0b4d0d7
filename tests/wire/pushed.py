"""An orchestrator with one machine that is pushed to (tests/plugin_machine.py), for the tests of ComfyDeploy's API."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from tests.system import Team, until
from tests.wire.conftest import ROOT, Orchestrator, start_orchestrator

GRAPH = {
    "1": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": "script", "default_value": ""}},
    "2": {"class_type": "Play", "inputs": {"script": ["1", 0]}},
}
PATIENCE_S = 30
QUICK = {
    "beat_s": "0.5",
    "lease_s": "3",
    "claim_s": "3",
    "poll_s": "0.5",
    "webhook_private": "true",
    "max_upload": "100000",
}


class Double(Struct):
    """The machine's process; started again it has forgotten everything."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "tests/plugin_machine.py", "--port-file", str(port_file), "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not port_file.exists():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)
        self.port = int(port_file.read_text())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Orchestrator]:
    """An orchestrator with short leases."""
    running = start_orchestrator(tmp_path_factory.mktemp("orchestrator"), module_database_url, **QUICK)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """The machine."""
    it = Double(tmp_path_factory.mktemp("double"))
    it.start()
    yield it
    it.kill()


@pytest.fixture(scope="module")
def deployment(quick: Orchestrator, double: Double) -> str:
    """The machine registered, the graph deployed on it."""
    with httpx.Client(base_url=f"{quick.url}/api/v1", headers=quick.headers, timeout=20) as client:
        body = {"name": "box", "endpoint": double.url, "endpoint_private": True}
        machine = client.post("/machines", json=body)
        assert machine.status_code == 201, machine.text
        version = client.post("/workflows", json={"name": "play", "api_graph": GRAPH}).json()["version"]["id"]
        made = client.post("/deployments", json={"version_id": version, "machine_id": machine.json()["id"]})
        return str(made.json()["id"])


@pytest.fixture
async def team(quick: Orchestrator, deployment: str) -> AsyncIterator[Team]:
    """The administrator, once the machine is connected."""
    async with Team(quick.url, quick.api_key) as team:
        await until(lambda: team.machine("box"), lambda machine: machine["connected"], PATIENCE_S)
        yield team


async def play(team: Team, deployment: str, **script: Any) -> str:
    """Start a run that plays this script."""
    return await team.start(deployment, {"script": json.dumps(script)})
