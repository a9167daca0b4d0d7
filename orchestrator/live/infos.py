"""What an organisation's machines can run, as one answer to /object_info, made again only when a machine's changes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from orchestrator.runs.object_info import Answer, Info, read, union
from orchestrator.store import object_infos
from orchestrator.store.db import Database

MOST: Final = 20
Key = tuple[str, tuple[tuple[bytes, str], ...]]


class ObjectInfos:
    """The newest unions of a few organisations."""

    def __init__(self) -> None:
        self._made: OrderedDict[Key, Info] = OrderedDict()

    async def of(self, db: Database, organisation_id: str) -> Info:
        """Every class that a machine of the organisation has; {} while none has told."""
        told = await object_infos.told(db, organisation_id)
        key = (organisation_id, tuple((one.hash, one.name) for one in told))
        known = self._made.get(key)
        if known is None:
            bodies = await object_infos.bodies(db, organisation_id, list({one.hash for one in told}))
            known = await asyncio.to_thread(_union, told, bodies)
            self._made[key] = known
            while len(self._made) > MOST:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return known


def _union(told: list[object_infos.Told], bodies: dict[bytes, bytes]) -> Info:
    machines: dict[bytes, list[str]] = {}
    for one in told:
        machines.setdefault(one.hash, []).append(one.name)
    answers: list[Answer] = [read(bodies[name], names) for name, names in machines.items() if name in bodies]
    return union(answers)


INFOS: Final = ObjectInfos()
"""The process's: what it keeps is named by content, so that every application may share it."""
