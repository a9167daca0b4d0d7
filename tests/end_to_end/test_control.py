"""What a client can do with a run while it waits or runs, and where runs may go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from orchestrator.runs.state import TRANSITIONS
from tests.system import ENDED, coloured, is_square_of, laborious, new_colour, node

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def occupied(team, name):
    """The machine works on a long run meanwhile. Yields (its id, the run's id)."""
    machine_id = (await team.machine(name))["id"]
    run_id = await team.start(await team.deploy(laborious(400), machine_id=machine_id), new_colour())
    try:
        await team.until_status(run_id, "running")
        yield machine_id, run_id
    finally:
        await team.call("POST", f"/runs/{run_id}/cancel", 200)


async def test_the_event_stream_is_whole_over_a_cut(team):
    """Cut in the middle and resumed with Last-Event-ID: each change of status once, in order, and progress."""
    run_id = await team.start(await team.deploy(laborious(12)), new_colour())
    first, progress = [], 0
    async for event, event_id, data in team.events(run_id):
        progress += event == "progress"
        if event == "status":
            first.append((int(event_id), data["status"]))
        if progress >= 2:
            break
    rest = [
        (int(event_id), data["status"])
        async for event, event_id, data in team.events(run_id, after=first[-1][0])
        if event == "status"
    ]
    assert first[-1][1] == "running"
    statuses = ["not-started", "queued", "started", "running", "uploading", "success"]
    assert [*first, *rest] == list(enumerate(statuses, start=1))
    again = [data["status"] async for event, _, data in team.events(run_id) if event == "status"]
    assert again == statuses


async def test_a_waiting_run_is_cancelled_at_once(team):
    """It never gets an attempt; cancelling again changes nothing."""
    async with occupied(team, "alpha") as (machine_id, _):
        run_id = await team.start(await team.deploy(coloured(), machine_id=machine_id))
        waiting = await team.look(run_id)
        assert waiting["status"] == "not-started"
        assert waiting["waiting_reason"] == "every machine that can run it is busy"
        cancelled = await team.call("POST", f"/runs/{run_id}/cancel", 200)
        assert cancelled["status"] == "cancelled"
        again = await team.call("POST", f"/runs/{run_id}/cancel", 200)
        assert (again["revision"], again.get("attempts", 0)) == (cancelled["revision"], 0)


async def test_a_running_run_is_cancelled_and_its_machine_takes_the_next(team):
    """The machine stops in the middle: the next run on it succeeds long before the cancelled one could have ended."""
    async with occupied(team, "alpha") as (machine_id, run_id):
        cancelled = await team.call("POST", f"/runs/{run_id}/cancel", 200)
        assert cancelled["status"] == "cancelled"
        following = await team.start(await team.deploy(coloured(), machine_id=machine_id), {"colour": 0xABCDEF})
        run = await team.succeed(following, timeout=20)
        assert is_square_of(await team.picture(run), 0xABCDEF)
        late = await team.look(run_id)
        assert (late["status"], late["revision"]) == ("cancelled", cancelled["revision"])
        assert not late.get("outputs")
        assert late["attempt_list"][0]["outcome"] == "cancelled"


async def test_a_run_over_its_time_is_ended(team):
    """timeout_s counts from the claim; the run is not repeated, and its machine takes the next."""
    machine_id = (await team.machine("alpha"))["id"]
    run_id = await team.start(await team.deploy(laborious(400), machine_id=machine_id), new_colour(), timeout_s=1)
    run = await team.until_status(run_id, "timeout", timeout=20)
    assert run["failure"]["kind"] == "timed_out"
    assert run["attempts"] == 1
    await team.succeed(await team.start(await team.deploy(coloured(), machine_id=machine_id)), timeout=20)


async def test_the_highest_priority_goes_first(team):
    """Three runs that wait for one machine are taken by priority, not by age."""
    async with occupied(team, "alpha") as (machine_id, blocker):
        deployment = await team.deploy(coloured(), machine_id=machine_id)
        runs = {level: await team.start(deployment, {"colour": 50 + level}, priority=level) for level in (-5, 0, 5)}
        await team.call("POST", f"/runs/{blocker}/cancel", 200)
        ended = {level: await team.succeed(run_id) for level, run_id in runs.items()}
    assert ended[5]["started_at"] < ended[0]["started_at"] < ended[-5]["started_at"]


async def test_a_run_that_nobody_can_take_is_refused_at_once(team):
    """Machines are there and none has the node: the answer names it for each of them."""
    graph = {"1": node("NodeOfAnotherPlanet"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}
    body = {"deployment_id": await team.deploy(graph)}
    refused = await team.call("POST", "/runs", 422, json=body)
    assert refused["code"] == "no_machine_can_run"
    assert {error["path"] for error in refused["errors"]} == {"machines.alpha", "machines.beta"}
    assert "lacks node NodeOfAnotherPlanet" in refused["detail"]


async def test_runs_stay_in_their_pool(team):
    """A deployment's pool chooses machines by label; a label that nobody has is named."""
    slow = await team.deploy(coloured(), pool={"pool": "slow"})
    runs = [await team.start(slow, {"colour": number}) for number in range(4)]
    assert {(await team.succeed(run_id))["machine_name"] for run_id in runs} == {"beta"}
    fast = await team.start(await team.deploy(coloured()), pool={"pool": "fast"})
    assert (await team.succeed(fast))["machine_name"] == "alpha"
    nowhere = await team.start(await team.deploy(coloured(), pool={"pool": "golden"}))
    assert (await team.look(nowhere))["waiting_reason"] == "no machine has the label pool=golden"
    await team.call("POST", f"/runs/{nowhere}/cancel", 200)


async def test_a_draining_machine_finishes_and_takes_nothing_new(team):
    """What it holds succeeds, what is pinned to it waits and says why, until it is undrained."""
    machine_id = (await team.machine("beta"))["id"]
    held = await team.start(await team.deploy(laborious(10), machine_id=machine_id), new_colour())
    await team.until_status(held, "running")
    assert (await team.call("POST", f"/machines/{machine_id}/drain", 200))["state"] == "draining"
    waiting = await team.start(await team.deploy(coloured(), machine_id=machine_id))
    await team.succeed(held)
    run = await team.look(waiting)
    assert (run["status"], "beta is draining" in run["waiting_reason"]) == ("not-started", True)
    elsewhere = await team.succeed(await team.start(await team.deploy(coloured())))
    assert elsewhere["machine_name"] == "alpha"
    await team.call("POST", f"/machines/{machine_id}/undrain", 200)
    assert (await team.succeed(waiting))["machine_name"] == "beta"


async def test_runs_spread_over_the_machines(team):
    """Two runs at the same time are on two machines."""
    deployment = await team.deploy(laborious(10))
    runs = [await team.start(deployment, new_colour()) for _ in range(2)]
    ended = await asyncio.gather(*(team.succeed(run_id) for run_id in runs))
    assert {run["machine_name"] for run in ended} == {"alpha", "beta"}


async def test_what_is_shown_of_a_run_is_a_legal_life(team):
    """Whenever a client looks, what it sees next can follow what it saw before."""
    run_id = await team.start(await team.deploy(laborious(3)), new_colour())
    seen = ["not-started"]
    while seen[-1] not in ENDED:
        status = (await team.look(run_id))["status"]
        if status != seen[-1]:
            seen.append(status)
    order = list(TRANSITIONS)
    assert seen == sorted(seen, key=order.index)
    assert seen[-1] == "success"
