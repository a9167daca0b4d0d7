"""Machines' secrets from the API to a node: orchestrator, agent and executor are real, and a node looks at its own.

Values are long random texts, so that a place where one stands in clear is found by looking for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from msgspec import Struct

from orchestrator.store.machine_secrets import MOST
from tests.system import Team
from tests.wire.conftest import Orchestrator
from tests.wire.strangers import client_with, stranger_of

pytestmark = pytest.mark.anyio
PACK = Path(__file__).resolve().parents[1] / "fixtures" / "secretive"
_turns = count()


class Agent(Struct):
    """A machine's agent in a folder of its own, its log beside its data."""

    machine: str
    home: Path
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )

    @property
    def log(self) -> str:
        return (self.home / "agent.log").read_text()

    def kill(self) -> None:
        """At once; its executor goes with it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture(scope="module")
def agent(orchestrator: Orchestrator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent and its executor, which run."""
    with httpx.Client(base_url=f"{orchestrator.url}/api/v1", headers=orchestrator.headers) as api:
        made = api.post("/machines", json={"name": "keeps secrets"}).json()["id"]
        token = api.post(f"/machines/{made}/enrol-token").json()["token"]
    home = tmp_path_factory.mktemp("agent")
    command = [sys.executable, "-m", "machine_agent", "run", "--url", orchestrator.url, "--enrol-token", token]
    command += ["--data", str(home / "data"), "--executor-args", f"--cpu --custom-nodes {PACK}"]
    agent = Agent(made, home, command)
    agent.start()
    try:
        yield agent
    finally:
        agent.kill()


@pytest.fixture(scope="module")
def machine(agent: Agent) -> str:
    """The machine's id."""
    return agent.machine


@pytest.fixture
async def team(orchestrator: Orchestrator, machine: str) -> AsyncIterator[Team]:
    """The organisation of the machine, which is up."""
    async with Team(orchestrator.url, orchestrator.api_key) as team:
        async with asyncio.timeout(60):
            while "TellSecret" not in (await _machine(team, machine)).get("inventory", {}).get("node_classes", []):
                await asyncio.sleep(0.1)
        yield team


async def _machine(team: Team, machine_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await team.call("GET", f"/machines/{machine_id}", 200)
    return found


async def _set(team: Team, machine_id: str, name: str, value: str) -> dict[str, Any]:
    made: dict[str, Any] = await team.call("PUT", f"/machines/{machine_id}/secrets/{name}", 200, json={"value": value})
    return made


async def _run(team: Team, name: str, slip: str = "", wait_for: str = "") -> str:
    """A run that looks at the variable; its id."""
    inputs = {"name": name, "slip": slip, "turn": next(_turns), "wait_for": wait_for}
    version = await team.version({"1": {"class_type": "TellSecret", "inputs": inputs}})
    return (await team.call("POST", "/runs", 202, json={"version_id": version["id"], "max_attempts": 1}))["id"]


async def _told(team: Team, name: str) -> str:
    """What the node says of the variable: the hash of its value, or `none`."""
    run = await team.until_status(await _run(team, name), "success")
    (text,) = run["outputs"][0]["data"]
    return text


@asynccontextmanager
async def _told_to(agent: Agent) -> AsyncIterator[None]:
    """Ends when the agent has taken what is changed within."""
    before = agent.log.count("secrets_taken")
    yield
    async with asyncio.timeout(20):
        while agent.log.count("secrets_taken") == before:
            await asyncio.sleep(0.02)


async def _give(team: Team, agent: Agent, name: str, value: str) -> dict[str, Any]:
    async with _told_to(agent):
        return await _set(team, agent.machine, name, value)


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


async def test_a_value_reaches_the_nodes_anew_and_is_taken_away(team: Team, machine: str, agent: Agent) -> None:
    """Set, set anew, deleted: the next run on the machine sees it, and the machine's events tell of it."""
    first, second = secrets.token_urlsafe(20), "of two lines:\n" + secrets.token_urlsafe(20)
    made = await _give(team, agent, "HF_TOKEN", first)
    again = await _give(team, agent, "HF_TOKEN", second)
    assert await _told(team, "HF_TOKEN") == _hash(second)
    assert made["fingerprint"] != again["fingerprint"]
    listed = await team.call("GET", f"/machines/{machine}/secrets", 200)
    assert listed == {"items": [again], "next_cursor": None}
    async with _told_to(agent):
        await team.call("DELETE", f"/machines/{machine}/secrets/HF_TOKEN", 204)
    assert await _told(team, "HF_TOKEN") == "none"
    events = await team.call("GET", f"/machines/{machine}/events", 200)
    assert [event["kind"] for event in events["items"]].count("secrets_changed") == 3


async def test_a_run_that_is_on_keeps_its_executor(team: Team, agent: Agent, tmp_path: Path) -> None:
    """The change waits for the run to end well; the run after it has the new value."""
    go = tmp_path / "go"
    running = await _run(team, "LATE", wait_for=str(go))
    await team.until_status(running, "running")
    value = secrets.token_urlsafe(20)
    await _give(team, agent, "LATE", value)
    after = await _run(team, "LATE")
    go.touch()
    run = await team.until_status(running, "success")
    assert run["outputs"][0]["data"] == ["none"]
    assert (await team.until_status(after, "success"))["outputs"][0]["data"] == [_hash(value)]


async def test_a_value_that_slips_is_in_no_log_answer_or_row(
    team: Team, orchestrator: Orchestrator, agent: Agent
) -> None:
    """Printed, raised, put out: stars stand in its place in the run's lines, failure and outputs. It is neither in the
    database nor in a log of orchestrator or agent, nor in a file of the agent's but its executor's log.
    """
    value = secrets.token_urlsafe(24)
    await _give(team, agent, "SLIPS", value)
    printed = await _run(team, "SLIPS", "print")
    await team.until_status(printed, "success")
    raised = await team.until_status(await _run(team, "SLIPS", "raise"), "failed")
    shown = await team.until_status(await _run(team, "SLIPS", "output"), "success")
    assert raised["failure"]["message"] == "RuntimeError: cannot log in with ***"
    assert shown["outputs"][0]["data"] == ["the value is ***"]
    async with asyncio.timeout(20):
        while not (parts := (await team.call("GET", f"/runs/{printed}/logs", 200))["items"]):
            await asyncio.sleep(0.1)
    assert any("the value is '***', that is:" in line for part in parts for line in part["lines"])
    assert value not in str(parts)
    assert value not in await _whole_database(orchestrator.database_url)
    for path in [*orchestrator.data.rglob("*"), *agent.home.rglob("*")]:
        if path.is_file() and path.name != "log.txt":
            assert value.encode() not in path.read_bytes(), path


async def _whole_database(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        rows = [await connection.fetch(f"select t::text from {row['tablename']} t") for row in tables]
    finally:
        await connection.close()
    return "\n".join(row[0] for table in rows for row in table)


async def test_an_agent_that_comes_back_gets_them_again(team: Team, machine: str, agent: Agent) -> None:
    """It keeps them in memory only, so one that was killed is told all of them before its first job."""
    agent.kill()
    value = secrets.token_urlsafe(20)
    await _set(team, machine, "STAYS", value)
    agent.start()
    assert await _told(team, "STAYS") == _hash(value)


async def test_a_machine_that_is_started_again_is_the_same(team: Team, machine: str, agent: Agent) -> None:
    """Neither a restart nor a secret makes a version of the machine; a label does, and the old one stays as it was."""
    (first,) = (await team.call("GET", f"/machines/{machine}/versions", 200))["items"]
    inventory = (await _machine(team, machine))["inventory"]
    assert (first["number"], first["node_classes"]) == (1, len(inventory["node_classes"]))
    await team.call("PATCH", f"/machines/{machine}", 200, json={"labels": {"room": "a"}})
    second = (await team.call("GET", f"/machines/{machine}/versions?limit=1", 200))["items"][0]
    assert (second["number"], second["labels"]) == (2, {"room": "a"})
    assert second["hash"] != first["hash"]
    shown = await team.call("GET", f"/machines/{machine}/versions/1", 200)
    assert {**first, "inventory": inventory} == shown
    for number in (0, 3, 2**40):
        await team.call("GET", f"/machines/{machine}/versions/{number}", 404)


async def test_an_organisation_s_secret_is_given_by_label(team: Team, machine: str, agent: Agent) -> None:
    """It comes with the label, and the agent's log names it no more when it is gone; what is no variable is refused."""
    value, path = secrets.token_urlsafe(20), "/organisation/secrets/SHARED"
    body = {"value": value, "machines": {"pool": "given"}}
    assert (await team.call("PUT", path, 200, json=body))["machines"] == {"pool": "given"}
    async with _told_to(agent):
        await team.call("PATCH", f"/machines/{machine}", 200, json={"labels": {"pool": "given"}})
    assert await _told(team, "SHARED") == _hash(value)
    async with _told_to(agent):
        await team.call("DELETE", path, 204)
    assert "SHARED" not in agent.log.rpartition("secrets_taken")[2]
    await team.call("PUT", path, 422, json={"value": "short", "machines": {}})
    await team.call("PUT", "/organisation/secrets/a-name", 422, json={"value": value, "machines": {}})


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "PYTHONPATH", "FLEET_URL", "lower", "1ST", "A-B"])
async def test_names_that_are_not_given_away(team: Team, machine: str, name: str) -> None:
    """Refused, and the field is named."""
    refused = await team.call("PUT", f"/machines/{machine}/secrets/{name}", 422, json={"value": "12345678"})
    assert "name" in str(refused["errors"])


@pytest.mark.parametrize("value", ["short", "12345678\0", "x" * 16385])
async def test_values_that_cannot_be_given(team: Team, machine: str, value: str) -> None:
    """Too short to be hidden in a log, cut off by a NUL, too long."""
    await team.call("PUT", f"/machines/{machine}/secrets/OTHER", 422, json={"value": value})


async def test_only_administrators_of_the_machine_s_team_set_them(orchestrator: Orchestrator, machine: str) -> None:
    """A developer sees names and sets nothing, a viewer sees nothing, another team finds no machine."""
    path, body = f"/api/v1/machines/{machine}/secrets", {"value": secrets.token_urlsafe(20)}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=orchestrator.headers) as api:
        assert (await api.put(f"{path}/SEEN", json=body)).status_code == 200
        for role, seen in (("developer", 200), ("viewer", 403)):
            key = (await api.post("/api/v1/api-keys", json={"name": role, "role": role})).json()["key"]
            async with client_with(orchestrator, key) as other:
                assert (await other.put(f"{path}/SEEN", json=body)).status_code == 403
                assert (await other.delete(f"{path}/SEEN")).status_code == 403
                assert (await other.get(path)).status_code == seen
    async with stranger_of(orchestrator) as stranger:
        assert (await stranger.get(path)).status_code == 404
        assert (await stranger.put(f"{path}/SEEN", json=body)).status_code == 404
        assert (await stranger.delete(f"{path}/SEEN")).status_code == 404


async def test_the_command_line_sets_lists_and_deletes(team: Team, orchestrator: Orchestrator) -> None:
    """The value comes by standard input and is shown nowhere."""
    made = (await team.call("POST", "/machines", 201, json={"name": "by hand"}))["id"]
    value = secrets.token_urlsafe(20)

    async def comfyfleet(*words: str, given: str = "") -> str:
        command = [sys.executable, "-m", "client", "--url", orchestrator.url, "--api-key", orchestrator.api_key]
        process = await asyncio.create_subprocess_exec(
            *command, "secrets", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        told, _ = await process.communicate(given.encode())
        assert process.returncode == 0, told
        return told.decode()

    told = await comfyfleet("set", "by hand", "HF_TOKEN", given=f"{value}\n")
    told += await comfyfleet("ls", made)
    (listed,) = (await team.call("GET", f"/machines/{made}/secrets", 200))["items"]
    assert told.count(listed["fingerprint"]) == 2
    again = await _set(team, made, "HF_TOKEN", value)
    assert again["fingerprint"] == listed["fingerprint"]
    told += await comfyfleet("rm", made, "HF_TOKEN")
    assert value not in told
    assert (await team.call("GET", f"/machines/{made}/secrets", 200))["items"] == []


async def test_a_machine_keeps_a_bounded_number(team: Team) -> None:
    """One more than the limit is refused; setting one of those anew is not, and deleting the machine deletes all."""
    made = (await team.call("POST", "/machines", 201, json={"name": "full"}))["id"]
    for number in range(MOST):
        await _set(team, made, f"S{number}", "12345678")
    refused = await team.call("PUT", f"/machines/{made}/secrets/MORE", 409, json={"value": "12345678"})
    assert refused["code"] == "too_many_secrets"
    await _set(team, made, "S0", "87654321")
    await team.call("DELETE", f"/machines/{made}", 204)
    await team.call("GET", f"/machines/{made}/secrets", 404)


async def test_a_machine_without_an_agent_takes_none(team: Team) -> None:
    """Nobody of ours starts its ComfyUI."""
    body = {"name": "pushed", "endpoint": "http://127.0.0.1:9", "endpoint_private": True}
    made = (await team.call("POST", "/machines", 201, json=body))["id"]
    refused = await team.call("PUT", f"/machines/{made}/secrets/TOKEN", 409, json={"value": "12345678"})
    assert refused["code"] == "machine_not_ours"
    await team.call("DELETE", f"/machines/{made}/secrets/TOKEN", 404)
