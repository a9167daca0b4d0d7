"""Runs go through a fleet whose every part is killed at random, and each ends exactly once with its own output.

CHAOS_RUNS says how many (40 unless told), CHAOS_SEED which dice.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest

from tests import fleet_process
from tests.chaos.checker import Books, check_counters, check_history, check_run, read_books
from tests.chaos.crowd import Crowd
from tests.chaos.monkey import KINDS, Monkey
from tests.fleet_process import FleetProcess, fleet_home
from tests.system import ENDED, Team, coloured, is_square_of, laborious, until
from tests.wire.webhook_receiver import Receiver, receiving

pytestmark = [pytest.mark.anyio, pytest.mark.chaos, pytest.mark.xdist_group("fleet")]

RUNS = int(os.environ.get("CHAOS_RUNS", "40"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
AGENTS = ("north", "east", "south", "west")
STREAMS = 4
PAUSE_S = 0.5  # between two submissions of one stream
LONGEST_S = max(20.0, 1.2 * RUNS - 20)  # of chaos: a host too slow to keep up finishes in the calm after it
CALM_S = 180.0  # what is left must end within this once nothing is killed any more


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Iterator[FleetProcess]:
    """An orchestrator with its database, and four agents with an executor each."""
    with fleet_home("chaos") as home:
        fleet = FleetProcess(home)
        failed = request.session.testsfailed
        try:
            fleet.start()
            for name in AGENTS:
                fleet.add_agent(name)
            fleet.until_useful(*AGENTS)
            yield fleet
        finally:
            if request.session.testsfailed > failed:
                print(fleet.logs())
            fleet.stop()


async def test_every_run_ends_once_whatever_is_killed(fleet: FleetProcess):
    """No run is lost, none ends twice, every output is the run's own and the winner's, and all slots are free again."""
    print(f"\nCHAOS_RUNS={RUNS} CHAOS_SEED={SEED}")
    chance = random.Random(SEED)
    began = time.monotonic()
    async with Team(fleet.url, fleet.api_key) as team, receiving() as receiver:
        crowd = Crowd(team, await team.deploy(laborious(4)))
        receiver.secret = (await team.call("POST", "/webhooks", 201, json={"url": f"{receiver.url}/ok"}))["secret"]
        monkey = await _live_through(fleet, crowd, chance)
        raged_s = time.monotonic() - began
        runs = await _settled(crowd)
        await _free_again(fleet, team)
        _none_lost(crowd, runs)
        books = await _check_books(fleet, [run["id"] for run in runs])
        await asyncio.gather(*(_check_shown(team, colour, run_id) for colour, run_id in crowd.promised.items()))
    _none_told_apart(receiver, books)
    _show(books, crowd, monkey, receiver, (raged_s, time.monotonic() - began))
    assert set(monkey.kills) == set(KINDS)
    assert not monkey.own_ends.keys() - {"orchestrator"}, monkey.own_ends


async def _live_through(fleet: FleetProcess, crowd: Crowd, chance: random.Random) -> Monkey:
    """Submit while things are killed, until all is submitted and all but the last few have ended."""
    began = time.monotonic()
    monkey = Monkey(fleet, chance)
    programs = {"orchestrator": fleet.orchestrator, **fleet.agents}
    keepers = [asyncio.create_task(monkey.keep(name, program)) for name, program in programs.items()]
    raging = asyncio.create_task(monkey.rage())
    try:
        colours = chance.sample(range(1, 0x1000000), RUNS)
        await asyncio.gather(*(crowd.submit(colours[place::STREAMS], PAUSE_S) for place in range(STREAMS)))
        deadline = began + LONGEST_S
        while time.monotonic() < deadline and sum(run["status"] in ENDED for run in await crowd.every_run()) < RUNS - 4:
            await asyncio.sleep(0.5)
    finally:
        raging.cancel()
        with suppress(asyncio.CancelledError):
            await raging
        await asyncio.to_thread(fleet.until_ready_again)
        await asyncio.to_thread(
            fleet_process.until, lambda: all(program.runs for program in programs.values()), "all run again"
        )
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
    return monkey


async def _settled(crowd: Crowd) -> list[dict]:
    """Every run, once all have ended."""
    deadline = time.monotonic() + CALM_S
    while True:
        runs = await crowd.every_run()
        left = [run for run in runs if run["status"] not in ENDED]
        if not left:
            return runs
        assert time.monotonic() < deadline, f"{len(left)} runs do not end, such as {left[0]}"
        await asyncio.sleep(0.5)


def _none_lost(crowd: Crowd, runs: list[dict]) -> None:
    """What was promised is there, once, and nothing else."""
    found = {run["id"] for run in runs}
    assert crowd.answered <= found
    assert len(runs) == RUNS == len(crowd.promised)
    assert set(crowd.promised.values()) == found


async def _free_again(fleet: FleetProcess, team: Team) -> None:
    """Every machine says that its slots are free, and takes one more run to prove it."""
    for name in AGENTS:
        machine = await until(
            lambda name=name: team.machine(name), lambda seen: seen["connected"] and not seen.get("used_slots")
        )
        run_id = await team.start(await team.deploy(coloured(), machine_id=machine["id"]), {"colour": 7})
        assert (await team.succeed(run_id))["machine_name"] == name
    spools = [path for agent in fleet.agents.values() for path in (agent.data / "spool").glob("*.jsonl")]
    assert not spools


async def _check_books(fleet: FleetProcess, run_ids: list[str]) -> Books:
    connection = await asyncpg.connect(fleet.dsn)
    try:
        books = await read_books(connection)
        await check_counters(connection)
    finally:
        await connection.close()
    for run_id in run_ids:
        check_run(books, run_id)
    return books


async def _check_shown(team: Team, colour: int, run_id: str) -> None:
    """What a client is told: the whole history over the event stream, and the run's own picture."""
    history = [data async for event, _, data in team.events(run_id) if event == "status"]
    check_history([(event["revision"], event["status"]) for event in history], run_id)
    run = await team.look(run_id)
    if run["status"] == "success":
        assert len(run["outputs"]) == 1
        assert is_square_of(await team.picture(run), colour), f"{run_id}: not its own picture"


def _none_told_apart(receiver: Receiver, books: Books) -> None:
    """A message may come twice after a kill, but under the same id, and it says how the run ended."""
    told: dict[str, str] = {}
    for _, message_id, message in receiver.seen:
        run = message["data"]
        assert told.setdefault(run["id"], message_id) == message_id, run["id"]
        assert run["status"] == books.runs[run["id"]]["status"], run["id"]


def _show(books: Books, crowd: Crowd, monkey: Monkey, receiver: Receiver, seconds: tuple[float, float]) -> None:
    mine = [books.runs[run_id] for run_id in crowd.promised.values()]
    attempts = [row for run in mine for row in books.of("attempts", str(run["id"]))]
    rows = {
        "runs": len(mine),
        "ended as": dict(Counter(run["status"] for run in mine)),
        "attempts": len(attempts),
        "attempts ended as": dict(Counter(row["outcome"] for row in attempts)),
        "most attempts of one run": max(run["attempts"] for run in mine),
        "kills": dict(monkey.kills),
        "ended by themselves": dict(monkey.own_ends),
        "posts without an answer": crowd.unanswered,
        "messages received": len(receiver.seen),
        "of that many runs": len({message["data"]["id"] for _, _, message in receiver.seen}),
        "seconds of chaos": round(seconds[0], 1),
        "seconds in all": round(seconds[1], 1),
    }
    print("\n".join(f"{name:>26}  {value}" for name, value in rows.items()))
