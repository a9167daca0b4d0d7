"""The real orchestrator as a process of its own, and what it costs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from bench.http import Connection
from drivers.wire import EnrolReply

PATIENCE_S = 60.0


class Orchestrator(Struct):
    """A running one."""

    url: str
    api_key: str
    pid: int
    dsn: str

    def cpu_s(self) -> float:
        """CPU seconds the process has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def database_cpu_s(self) -> float:
        """CPU seconds of the embedded PostgreSQL's processes."""
        total = 0.0
        for process in psutil.Process(self.pid).children(recursive=True):
            times = process.cpu_times()
            total += times.user + times.system
        return total

    async def enrol(self, count: int) -> list[EnrolReply]:
        """Register and enrol machines."""
        replies = []
        async with Connection(self.url, self.api_key) as http:
            for number in range(count):
                machine = await http.post("/api/v1/machines", {"name": f"bench-{time.time_ns()}-{number}"})
                token = await http.post(f"/api/v1/machines/{machine['id']}/enrol-token", {})
                reply = await http.post("/api/v1/agent/enrol", {"token": token["token"]})
                replies.append(msgspec.convert(reply, EnrolReply))
        return replies

    async def version(self) -> str:
        """Upload a workflow; returns its version's id."""
        graph = {
            "1": {"class_type": "PrimitiveInt", "inputs": {"value": 1}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        }
        async with Connection(self.url, self.api_key) as http:
            workflow = await http.post("/api/v1/workflows", {"name": "bench", "api_graph": graph})
        return str(workflow["version"]["id"])


@asynccontextmanager
async def orchestrator(dsn: str | None = None) -> AsyncIterator[Orchestrator]:
    """Start one on this database, or on a fresh, durable embedded one; stop it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="comfyfleet-bench-"))
    folder.chmod(0o711)
    port_file, up_file = folder / "port", folder / "up.json"
    command = [sys.executable, "-m", "orchestrator", "serve", "--port", "0", "--data", str(folder)]
    command += ["--port-file", str(port_file), "--up-file", str(up_file)]
    command += [] if dsn is None else ["--database-url", dsn]
    # The limit is kept, but not reached: one key sends everything here.
    command = ["env", "FLEET_RATE_LIMIT=1000000", "FLEET_RATE_BURST=1000000", *command]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (port_file.exists() and up_file.exists()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the orchestrator did not start:\n" + (folder / "log").read_text()[-3000:])
            await asyncio.sleep(0.05)
        up = msgspec.json.decode(up_file.read_bytes())
        url = f"http://127.0.0.1:{port_file.read_text().strip()}"
        data = folder / "postgres"
        yield Orchestrator(url, up["api_key"], process.pid, str(data))
    finally:
        process.terminate()
        process.wait(timeout=30)
