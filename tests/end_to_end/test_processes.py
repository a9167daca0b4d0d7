"""Processes end and come back under runs: orchestrator, database, executors; agents told to go, killed, hung."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests import fleet_process
from tests.system import coloured, is_square_of, laborious, new_colour, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to go"])
async def test_a_run_goes_on_while_the_orchestrator_is_away(fleet, team, number):
    """The same attempt reports to the orchestrator that comes back; nothing is repeated, the history has no gap."""
    inputs = new_colour()
    run_id = await team.start(await team.deploy(laborious(20)), inputs)
    before = await team.until_status(run_id, "running")
    fleet.orchestrator.signal(number)
    await asyncio.to_thread(fleet.restart_orchestrator)
    run = await team.succeed(run_id)
    assert run["attempts"] == 1
    assert run["attempt_list"][0]["id"] == before["attempt_list"][0]["id"]
    assert is_square_of(await team.picture(run), inputs["colour"])
    history = [data["revision"] async for event, _, data in team.events(run_id) if event == "status"]
    assert history == list(range(1, 7))


async def test_a_waiting_run_survives_a_restart(fleet, team):
    """What was accepted and not placed is still waiting afterwards, and is placed when its machine is there again."""
    machine_id = (await team.machine("beta"))["id"]
    await team.call("POST", f"/machines/{machine_id}/drain", 200)
    run_id = await team.start(await team.deploy(coloured(), machine_id=machine_id), {"colour": 9})
    fleet.orchestrator.kill()
    await asyncio.to_thread(fleet.restart_orchestrator)
    assert (await team.look(run_id))["status"] == "not-started"
    await team.call("POST", f"/machines/{machine_id}/undrain", 200)
    assert is_square_of(await team.picture(await team.succeed(run_id)), 9)


async def test_an_agent_told_to_go_finishes_first(fleet, team):
    """SIGTERM: the run it holds succeeds, then it ends with 0; what comes meanwhile waits for its return."""
    agent = await asyncio.to_thread(fleet.add_agent, "gamma", labels={"only": "gamma"})
    await asyncio.to_thread(fleet.until_useful, "gamma")
    held = await team.start(await team.deploy(laborious(20), pool={"only": "gamma"}), new_colour())
    await team.until_status(held, "running")
    agent.signal(signal.SIGTERM)
    await until(lambda: team.machine("gamma"), lambda machine: machine.get("slots", 0) == 0)
    later = await team.start(await team.deploy(coloured(), pool={"only": "gamma"}))
    assert (await team.succeed(held))["attempts"] == 1
    assert await asyncio.to_thread(agent.wait) == 0
    await until(lambda: team.machine("gamma"), lambda machine: not machine["connected"])
    waiting = await team.look(later)
    assert waiting["status"] == "not-started"
    assert "gamma is not connected" in waiting["waiting_reason"]
    agent.start()
    assert (await team.succeed(later))["machine_name"] == "gamma"
    agent.signal(signal.SIGTERM)
    await asyncio.to_thread(agent.wait)


async def test_a_killed_machines_run_goes_to_another(fleet, team):
    """kill -9 of the agent that holds it: when its lease has run out, the other machine runs it."""
    inputs = new_colour()
    run_id = await team.start(await team.deploy(laborious(20)), inputs)
    first = (await team.until_status(run_id, "running"))["machine_name"]
    fleet.agents[first].kill()
    try:
        run = await team.succeed(run_id)
    finally:
        fleet.agents[first].start()
    assert [attempt["outcome"] for attempt in run["attempt_list"]] == ["lost", "success"]
    assert run["machine_name"] != first
    assert len(run["outputs"]) == 1
    assert is_square_of(await team.picture(run), inputs["colour"])
    await asyncio.to_thread(fleet.until_useful, first)


async def test_a_dead_executor_is_replaced_and_its_run_repeated(fleet, team):
    """kill -9 of the executor: the attempt is reported as crashed, the run succeeds with another attempt."""
    inputs = new_colour()
    run_id = await team.start(await team.deploy(laborious(20)), inputs)
    first = (await team.until_status(run_id, "running"))["machine_name"]
    for executor in fleet.agents[first].executors():
        executor.kill()
    run = await team.succeed(run_id)
    assert run["attempt_list"][0]["failure"]["kind"] == "executor_crashed"
    assert run["attempt_list"][-1]["outcome"] == "success"
    assert is_square_of(await team.picture(run), inputs["colour"])
    machine_id = (await team.machine(first))["id"]
    await team.succeed(await team.start(await team.deploy(coloured(), machine_id=machine_id)))


async def test_what_a_superseded_attempt_still_says_changes_nothing(fleet, team):
    """A machine that hangs over its lease loses its run; when it wakes up and goes on, the winner's output stays."""
    inputs = new_colour()
    run_id = await team.start(await team.deploy(laborious(20)), inputs)
    first = (await team.until_status(run_id, "running"))["machine_name"]
    agent = fleet.agents[first]
    agent.signal(signal.SIGSTOP)
    try:
        await team.until(run_id, lambda run: run["status"] == "running" and run["machine_name"] != first)
    finally:
        agent.signal(signal.SIGCONT)
    run = await team.succeed(run_id)
    assert [attempt["outcome"] for attempt in run["attempt_list"]] == ["lost", "success"]
    await until(lambda: team.machine(first), lambda machine: machine["connected"] and not machine.get("used_slots"))
    await asyncio.to_thread(fleet_process.until, lambda: not list((agent.data / "spool").glob("*.jsonl")), "it is told")
    machine_id = (await team.machine(first))["id"]
    await team.succeed(await team.start(await team.deploy(coloured(), machine_id=machine_id)))
    again = await team.look(run_id)
    assert (again["revision"], len(again["outputs"])) == (run["revision"], 1)
    assert again["outputs"][0]["file_id"] == run["outputs"][0]["file_id"]
    assert is_square_of(await team.picture(again), inputs["colour"])


async def test_the_database_may_die_under_running_runs(fleet, team):
    """kill -9 of the server: it comes back by itself with every run, and the run goes on in the same attempt."""
    inputs = new_colour()
    run_id = await team.start(await team.deploy(laborious(20)), inputs)
    await team.until_status(run_id, "running")
    before = fleet.postmaster_pid
    os.kill(before, signal.SIGKILL)
    await asyncio.to_thread(fleet_process.until, lambda: fleet.postmaster_pid not in (None, before), "another server")
    await asyncio.to_thread(fleet.until_ready_again)
    run = await team.succeed(run_id)
    assert run["attempts"] == 1
    assert is_square_of(await team.picture(run), inputs["colour"])
