"""A whole fleet on this host: one orchestrator with its embedded database, and agents with their executors.

Used by `up` and by the demo. It knows the two programs' command lines and the SDK, nothing behind them.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from pathlib import Path

from msgspec import Struct

from client.api import Fleet, every
from client.config import UpFile, child_environment, read_up_file, write_up_file
from client.errors import SetupProblem
from client.process import Child, Report, describe
from orchestrator import wire

HOST = "127.0.0.1"
READY_S = 90.0
AGENT_DRAIN_S = 10.0
PACKAGED = Path(__file__).resolve().parent / "_demo"
CHECKOUT = Path(__file__).resolve().parent.parent / "deploy" / "demo"


class Plan(Struct, frozen=True, kw_only=True):
    """What to start. port 0 takes a free one; isolated keeps the environment's fleet settings out."""

    data: Path
    port: int
    machines: list[str]
    isolated: bool = False
    threads: int | None = None  # CPU threads per executor


class Stack:
    """The processes of a local fleet, in the order in which they start and, backwards, end."""

    def __init__(self, plan: Plan, report: Report) -> None:
        self.plan = plan
        self.data = plan.data.absolute()
        self.created = False
        self._report = report
        self._env = child_environment(isolated=plan.isolated)
        self._keepers: list[asyncio.Task[None]] = []
        self.orchestrator: Child | None = None
        self.agents: dict[str, Child] = {}
        self.up = UpFile(url="")

    async def start(self) -> UpFile:
        """Starts everything and answers how to reach it. Raises SetupProblem with the reason and the log's end."""
        port = check_port(self.plan.port)
        up_path = self.data / "up.json"
        before = read_up_file(up_path)
        url = f"http://{HOST}:{port}"
        options = ["serve", "--host", HOST, "--port", str(port), "--data", str(self.data), "--up-file", str(up_path)]
        self.orchestrator = self._child("orchestrator", [sys.executable, "-m", "orchestrator", *options])
        await self.orchestrator.start()
        await self._until_ready(url)
        up = read_up_file(up_path)
        if up is None:
            raise SetupProblem(
                f"{self.data} holds a database but no up.json with its API key: "
                "give the folder's up.json back, or choose another folder with DATA="
            )
        self.created = before is None
        self.up = UpFile(url=url, email=up.email, password=up.password, api_key=up.api_key)
        if up.url != url:
            write_up_file(up_path, self.up)
        seed_models(self.data / "models")
        async with Fleet(url, up.api_key) as fleet:
            for name in self.plan.machines:
                await self._start_agent(fleet, name)
        for child in self._children():
            self._keepers.append(asyncio.create_task(child.keep(self._report)))
        return self.up

    def _child(self, name: str, argv: list[str]) -> Child:
        return Child(name, argv, self.data / "logs" / f"{name.replace(' ', '-')}.log", self._env)

    def _children(self) -> list[Child]:
        return [child for child in (self.orchestrator, *self.agents.values()) if child is not None]

    async def _until_ready(self, url: str) -> None:
        child = self.orchestrator
        assert child is not None
        died = asyncio.create_task(child.ended())
        deadline = time.monotonic() + READY_S
        try:
            async with Fleet(url, "", timeout_s=5) as fleet:
                while not await fleet.ready():
                    if died.done():
                        raise SetupProblem(f"the orchestrator {describe(died.result())}:\n{child.log_tail()}")
                    if time.monotonic() > deadline:
                        raise SetupProblem(f"the orchestrator is not ready after {READY_S:g} s:\n{child.log_tail()}")
                    await asyncio.sleep(0.05)
        finally:
            died.cancel()

    async def _start_agent(self, fleet: Fleet, name: str) -> None:
        home = self.data / "agents" / name
        argv = [sys.executable, "-m", "machine_agent", "run", "--url", self.up.url, "--data", str(home)]
        argv += ["--models", str(self.data / "models"), "--drain-s", str(AGENT_DRAIN_S)]
        if self.plan.threads is not None:
            argv += ["--threads", str(self.plan.threads)]
        machine = await find_machine(fleet, name)
        if machine is None or not (home / "agent.json").exists():
            shutil.rmtree(home, ignore_errors=True)
            machine = machine or await fleet.machines.create(name)
            argv += ["--enrol-token", (await fleet.machines.enrol_token(machine.id)).token]
        child = self._child(f"agent {name}", argv)
        await child.start()
        self.agents[name] = child

    async def until_connected(self, fleet: Fleet, names: list[str], patience_s: float = READY_S) -> None:
        """Waits until those machines take work. Raises SetupProblem with an agent's log when one does not come."""
        deadline = time.monotonic() + patience_s
        while True:
            page = await fleet.machines.list()
            here = {machine.name for machine in page.items if takes_runs(machine)}
            missing = [name for name in names if name not in here]
            if not missing:
                return
            if time.monotonic() > deadline:
                tail = self.agents[missing[0]].log_tail()
                raise SetupProblem(f"the agent {missing[0]} is not connected after {patience_s:g} s:\n{tail}")
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ends the agents, then the orchestrator, which ends its database. No process is left behind."""
        await asyncio.gather(*(self._end(child, AGENT_DRAIN_S + 5) for child in self.agents.values()))
        if self.orchestrator is not None:
            await self._end(self.orchestrator, 20)
        await asyncio.gather(*self._keepers)

    async def _end(self, child: Child, grace_s: float) -> None:
        if not await child.stop(grace_s):
            self._report(f"{child.name} did not end within {grace_s:g} s and was killed")


def takes_runs(machine: wire.Machine) -> bool:
    """Whether the machine's agent is connected and its executor has said which nodes it can run."""
    return machine.connected and machine.slots > 0 and bool(machine.inventory.get("node_classes"))


async def find_machine(fleet: Fleet, name: str) -> wire.Machine | None:
    """The machine of that name, if there is one."""
    async for machine in every(fleet.machines.list):
        if machine.name == name and machine.state != "deleted":
            return machine
    return None


def check_port(port: int) -> int:
    """The port to serve on, a free one for 0. Raises SetupProblem when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SetupProblem(
                f"port {port} on {HOST} cannot be used ({error.strerror}): choose another with PORT="
            ) from error
        return int(probe.getsockname()[1])


def demo_folder() -> Path:
    """The demo's photos, workflow and weights: in the checkout, or beside an installed package."""
    for folder in (CHECKOUT, PACKAGED):
        if (folder / "workflow.json").exists():
            return folder
    raise SetupProblem("the demo's files are not installed: use a checkout of ComfyFleet")


def seed_models(models: Path) -> None:
    """Puts the demo's upscale model among the models, unless a file of that name is there."""
    source = demo_folder() / "models"
    for path in source.rglob("*.safetensors"):
        target = models / path.relative_to(source)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            shutil.copyfile(path, part)
            part.replace(target)
