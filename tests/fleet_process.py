"""A whole fleet of real processes for tests: orchestrator with its embedded database, agents, their executors.

Everything lies in one folder and keeps its place (port, data) over a kill and a restart. It knows how to start, kill
and find processes, and nothing of runs. The folder is 0711, since the database may run under another account.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec
import psutil

ROOT = Path(__file__).resolve().parent.parent
START_S = 90.0
T = TypeVar("T")
QUICK = {
    "FLEET_BEAT_S": "0.5",
    "FLEET_LEASE_S": "4",
    "FLEET_CLAIM_S": "5",
    "FLEET_POLL_S": "0.5",
    "FLEET_WEBHOOK_PRIVATE": "1",
    "OMP_NUM_THREADS": "1",
}


class NotInTime(AssertionError):
    """A condition did not come about."""


def until(condition: Callable[[], T], what: str, timeout: float = START_S) -> T:
    """The condition's first true answer, asked again and again. Raises NotInTime."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)
    return answer


class Program:
    """One command that can be started again after it ended; its output is appended to a log."""

    def __init__(self, argv: list[str], log: Path, environment: dict[str, str]) -> None:
        self.argv = argv
        self.log = log
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.runs:
            self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and reap it."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def wait(self, timeout: float = 30) -> int | None:
        return None if self.process is None else self.process.wait(timeout)

    def log_tail(self, size: int = 6000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""


class Agent(Program):
    """An agent's process with its folder."""

    def __init__(self, argv: list[str], log: Path, environment: dict[str, str], data: Path) -> None:
        super().__init__(argv, log, environment)
        self.data = data

    def executors(self) -> list[psutil.Process]:
        """The executors that run under it now."""
        try:
            return psutil.Process(self.pid).children() if self.runs else []
        except psutil.NoSuchProcess:
            return []


class FleetProcess:
    """The processes of one fleet. `settings` are environment variables of the orchestrator and the agents."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.data = home / "orchestrator"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        inherited.pop("DATABASE_URL", None)
        self.environment = {**inherited, **QUICK, **settings}
        argv = [sys.executable, "-m", "orchestrator", "serve", "--port", str(self.port), "--data", str(self.data)]
        self.orchestrator = Program(argv, home / "orchestrator.log", self.environment)
        self.agents: dict[str, Agent] = {}
        self.api_key = ""

    # The orchestrator and its database

    def start(self) -> None:
        """Start the orchestrator and wait until it can serve."""
        self.orchestrator.start()
        self.until_ready()
        self.api_key = msgspec.json.decode((self.data / "up.json").read_bytes())["api_key"]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def until_ready(self) -> None:
        def ready() -> bool:
            if not self.orchestrator.runs:
                raise NotInTime(f"the orchestrator ended:\n{self.orchestrator.log_tail()}")
            return self.is_ready()

        until(ready, "the orchestrator is ready")

    def until_ready_again(self) -> None:
        """Wait until it can serve, while somebody else starts it again."""
        until(self.is_ready, "the orchestrator is ready again")

    def restart_orchestrator(self) -> None:
        """After it was killed: the same port, the same data."""
        self.orchestrator.wait()
        self.orchestrator.start()
        self.until_ready()

    def _postmaster_lines(self) -> list[str]:
        for path in (self.data / "postgres").rglob("postmaster.pid"):
            lines = path.read_text(errors="replace").splitlines()
            if len(lines) >= 5:
                return lines
        return []

    @property
    def postmaster_pid(self) -> int | None:
        """The database server's process id, when it runs."""
        lines = self._postmaster_lines()
        if not lines:
            return None
        try:
            process = psutil.Process(int(lines[0]))
            return process.pid if "postgres" in process.name() else None
        except (psutil.NoSuchProcess, ValueError):
            return None

    @property
    def dsn(self) -> str:
        """Where the database listens now."""
        folder = until(self._postmaster_lines, "the database's lock file", 30)[4]
        return f"postgresql://postgres@/postgres?host={quote(folder, safe='/')}&port=5432"

    # Agents

    def add_agent(self, name: str, *, labels: dict[str, str] | None = None, slots: int = 1) -> Agent:
        """Register a machine, and start its agent with the real executor."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return self.enrol_agent(name, self.register(name, headers, labels), slots=slots)

    def register(self, name: str, headers: dict[str, str], labels: dict[str, str] | None = None) -> str:
        """Make the machine for whoever the headers stand for; returns a token to enrol its agent with."""
        with httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30) as api:
            machine = api.post("/machines", json={"name": name, "labels": labels or {}})
            assert machine.status_code == 201, machine.text
            token = api.post(f"/machines/{machine.json()['id']}/enrol-token")
            assert token.status_code == 201, token.text
            return token.json()["token"]

    def enrol_agent(self, name: str, token: str, *, slots: int = 1) -> Agent:
        """Start an agent that enrols itself with the token."""
        data = self.home / "agents" / name
        data.mkdir(parents=True)
        argv = [sys.executable, "-m", "machine_agent", "run", "--url", self.url, "--data", str(data)]
        argv += ["--slots", str(slots), "--threads", "1", "--enrol-token", token]
        agent = Agent(argv, self.home / f"agent-{name}.log", self.environment, data)
        agent.start()
        self.agents[name] = agent
        return agent

    def machine(self, name: str) -> dict:
        """The machine as the API shows it."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        page = httpx.get(f"{self.url}/api/v1/machines?limit=100", headers=headers, timeout=30)
        page.raise_for_status()
        return next(machine for machine in page.json()["items"] if machine["name"] == name)

    def until_useful(self, *names: str) -> None:
        """Wait until those machines are connected and know their node classes."""

        def useful(name: str) -> bool:
            machine = self.machine(name)
            return machine["connected"] and bool(machine.get("inventory", {}).get("node_classes"))

        for name in names:
            until(lambda name=name: useful(name), f"the machine {name} takes runs")

    # The end

    def stop(self) -> None:
        """End everything, and make sure of it."""
        for program in (*self.agents.values(), self.orchestrator):
            program.signal(signal.SIGTERM)
            program.signal(signal.SIGTERM)
        postmaster = self.postmaster_pid
        for program in (*self.agents.values(), self.orchestrator):
            try:
                program.wait(30)
            except subprocess.TimeoutExpired:
                program.kill()
        postmaster = self.postmaster_pid or postmaster
        if postmaster is not None and psutil.pid_exists(postmaster):
            os.kill(postmaster, signal.SIGQUIT)
            until(lambda: not psutil.pid_exists(postmaster), "the database server ends", 20)

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        programs = {"orchestrator": self.orchestrator, **{f"agent {name}": a for name, a in self.agents.items()}}
        return "\n".join(f"--- {name}\n{program.log_tail()}" for name, program in programs.items())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def fleet_home(name: str) -> Iterator[Path]:
    """A folder for a fleet that other accounts may pass through: in memory where there is plenty."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2_000_000_000
    home = Path(tempfile.mkdtemp(prefix=f"comfyfleet-{name}-", dir=memory if roomy else None))
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
