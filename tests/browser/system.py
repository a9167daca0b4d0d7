"""The real system as processes for the browser tests: an orchestrator, an agent with the built-in executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "deploy" / "demo"
START_S = 90.0
FACADE_HOST = "localhost"


class Fleet(Struct):
    """A running system. processes: the orchestrator's command and its process, to start it again."""

    url: str
    port: int
    email: str
    password: str
    api_key: str
    database_url: str
    home: Path
    process: subprocess.Popen[bytes]
    deployment_id: str = ""
    slow_version_id: str = ""
    photo_id: str = ""

    def client(self) -> httpx.Client:
        """A client of the API with the administrator's key."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.api_key}"}, timeout=30)

    def start_run(self, *, slow: bool = False, **more: object) -> str:
        """Start the demo run, or the slow version of it; returns its id."""
        target = {"version_id": self.slow_version_id} if slow else {"deployment_id": self.deployment_id}
        body = {**target, "inputs": {"photo": {"file_id": self.photo_id}}, **more}
        with self.client() as client:
            answer = client.post("/api/v1/runs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """No machine takes a new run meanwhile."""
        with self.client() as client:
            machine = client.get("/api/v1/machines").json()["items"][0]
            assert client.post(f"/api/v1/machines/{machine['id']}/drain").is_success
            try:
                yield
            finally:
                assert client.post(f"/api/v1/machines/{machine['id']}/undrain").is_success

    def restart(self, meanwhile: Callable[[], object]) -> None:
        """Stop the orchestrator, call meanwhile, and start it again on the same port."""
        end(self.process)
        meanwhile()
        self.process = serve(self.home, self.database_url, self.port)


def _environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    return {**clean, "PYTHONPATH": str(ROOT), **{f"FLEET_{key.upper()}": value for key, value in settings.items()}}


def serve(home: Path, database_url: str, port: int) -> subprocess.Popen[bytes]:
    """Start an orchestrator (port 0: any) and wait until it listens; home/port tells where."""
    port_file = home / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "orchestrator", "serve", "--data", str(home), "--port", str(port)]
    with (home / "orchestrator.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--port-file", str(port_file)],
            cwd=ROOT,
            env=_environment(database_url=database_url, comfyui_host=FACADE_HOST),
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError((home / "orchestrator.log").read_text()[-4000:])
        time.sleep(0.05)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then patience, then SIGKILL."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_agent(fleet: Fleet) -> subprocess.Popen[bytes]:
    """Register and enrol an agent with one slot and wait until it is connected."""
    with fleet.client() as client:
        machine = client.post("/api/v1/machines", json={"name": "studio-1", "labels": {"pool": "demo"}}).json()
        token = client.post(f"/api/v1/machines/{machine['id']}/enrol-token").json()["token"]
        command = [sys.executable, "-m", "machine_agent", "run", "--url", fleet.url, "--enrol-token", token]
        command += ["--data", str(fleet.home / "agent"), "--models", str(DEMO / "models"), "--slots", "1"]
        with (fleet.home / "agent.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=_environment(drain_s="1"), stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not client.get(f"/api/v1/machines/{machine['id']}").json()["connected"]:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError((fleet.home / "agent.log").read_text()[-4000:])
            time.sleep(0.1)
    return process


def demo_graph(passes: int) -> dict[str, Any]:
    """The demo's workflow, which enlarges and shrinks the photo a few times first, so that there is time to watch."""
    graph: dict[str, Any] = msgspec.json.decode((DEMO / "workflow.json").read_bytes())
    image = graph["4"]["inputs"]["image"]
    for number in range(passes):
        larger, smaller = f"larger{number}", f"smaller{number}"
        graph[larger] = {**graph["4"], "inputs": {**graph["4"]["inputs"], "image": image}}
        graph[smaller] = {**graph["2"], "inputs": {**graph["2"]["inputs"], "image": [larger, 0]}}
        image = [smaller, 0]
    graph["4"]["inputs"]["image"] = image
    return graph


def deploy_demo(fleet: Fleet) -> None:
    """Push and deploy the demo's workflow and store its photo."""
    graph = demo_graph(passes=1)
    with fleet.client() as client:
        made = client.post("/api/v1/workflows", json={"name": "Photo upscale", "api_graph": graph})
        assert made.status_code == 201, made.text
        slow = {"api_graph": demo_graph(passes=12), "comment": "Takes its time"}
        second = client.post(f"/api/v1/workflows/{made.json()['id']}/versions", json=slow)
        assert second.status_code == 201, second.text
        fleet.slow_version_id = second.json()["id"]
        deployed = client.post("/api/v1/deployments", json={"version_id": made.json()["version"]["id"]})
        assert deployed.status_code == 201, deployed.text
        fleet.deployment_id = deployed.json()["id"]
        photo = (DEMO / "photos" / "coffee.png").read_bytes()
        stored = client.post("/api/v1/files", files={"file": ("coffee.png", photo, "image/png")})
        assert stored.status_code in (200, 201), stored.text
        fleet.photo_id = stored.json()["id"]
