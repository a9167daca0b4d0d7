"""Kills processes of a fleet at random, and starts again what a supervisor on the host would start again.

An executor is started again by its agent and the database by the orchestrator; agents and the orchestrator by `keep`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress

from tests.fleet_process import FleetProcess, Program

KINDS = ("agent", "executor", "orchestrator", "database")


class Monkey:
    """What it does hangs on its random numbers alone, what it meets on the moment."""

    def __init__(self, fleet: FleetProcess, chance: random.Random) -> None:
        self.kills: Counter[str] = Counter()
        self.own_ends: Counter[str] = Counter()
        self._fleet = fleet
        self._chance = chance
        self._bag: list[str] = []
        self._killed: set[int] = set()

    async def rage(self) -> None:
        """Kill something every 1 to 3 seconds, each kind as often as the others, until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(self._chance.uniform(1.0, 3.0))
            if not self._bag:
                self._bag = list(KINDS)
                self._chance.shuffle(self._bag)
            kind = self._bag.pop()
            if self._kill(kind):
                self.kills[kind] += 1
                print(f"{time.monotonic() - began:6.1f} s  {kind}")
            else:
                self._bag.insert(0, kind)  # it is down already: its turn comes again

    def _kill(self, kind: str) -> bool:
        pid = self._victim(kind)
        if pid is None:
            return False
        self._killed.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def _victim(self, kind: str) -> int | None:
        fleet = self._fleet
        if kind == "database":
            return fleet.postmaster_pid
        if kind == "orchestrator":
            return fleet.orchestrator.pid if fleet.orchestrator.runs else None
        running = [agent for agent in fleet.agents.values() if agent.runs]
        if kind == "agent":
            return self._chance.choice(running).pid if running else None
        executors = [executor.pid for agent in running for executor in agent.executors()]
        return self._chance.choice(executors) if executors else None

    async def keep(self, name: str, program: Program) -> None:
        """Start the program again whenever it ended, until cancelled."""
        while True:
            while program.runs:
                await asyncio.sleep(0.05)
            if program.pid not in self._killed:
                self.own_ends[name] += 1
            await asyncio.sleep(self._chance.uniform(0.0, 1.0))
            program.start()
