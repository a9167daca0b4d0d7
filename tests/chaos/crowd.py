"""Submits runs to a fleet whose parts keep dying, as a careful client does: no run is lost, none is asked for twice.

A POST whose answer never came may have been taken or not: the list of runs says which. A run is known by its colour.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.system import Team

PAUSE_S = 0.2


class Crowd:
    """`promised` are the ids of runs by colour: answered with 202, or found in the list afterwards."""

    def __init__(self, team: Team, deployment_id: str) -> None:
        self._team = team
        self._deployment_id = deployment_id
        self.promised: dict[int, str] = {}
        self.answered: set[str] = set()
        self.unanswered = 0

    async def submit(self, colours: list[int], pause_s: float) -> None:
        """One run after the other, with a pause after each."""
        for colour in colours:
            self.promised[colour] = await self._one(colour)
            await asyncio.sleep(pause_s)

    async def _one(self, colour: int) -> str:
        body = {"deployment_id": self._deployment_id, "inputs": {"colour": colour}, "max_attempts": 10}
        while True:
            try:
                answer = await self._team.http.post("/runs", json=body)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code == 202:
                run_id: str = answer.json()["id"]
                self.answered.add(run_id)
                return run_id
            assert answer is None or answer.status_code >= 500, answer.text
            self.unanswered += 1
            taken = await self._look_for(colour)
            if taken is not None:
                return taken

    async def _look_for(self, colour: int) -> str | None:
        runs = await self.every_run()
        return next((run["id"] for run in runs if run["inputs"] == {"colour": colour}), None)

    async def every_run(self) -> list[dict[str, Any]]:
        """All runs of the deployment, asked for until a whole list comes back."""
        while True:
            try:
                return await self._pages()
            except httpx.HTTPError:
                await asyncio.sleep(PAUSE_S)

    async def _pages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            params = {"deployment_id": self._deployment_id, "limit": "100", **cursor}
            answer = await self._team.http.get("/runs", params=params)
            answer.raise_for_status()
            page = answer.json()
            found += page["items"]
            if not page.get("next_cursor"):
                return found
            cursor = {"cursor": page["next_cursor"]}
