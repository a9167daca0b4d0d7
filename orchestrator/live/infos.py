"""What an organisation's machines declare of their node classes: one answer to /object_info, and what classes take.

Both are read from what executors answered, made again only when a machine's answer changes.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from drivers.object_info import pack
from orchestrator.runs.object_info import Answer, Info, read, union
from orchestrator.runs.specs import NodeSpec, NodeSpecs, specs_of
from orchestrator.store import object_infos
from orchestrator.store.db import Database

MOST: Final = 20
Key = tuple[str, tuple[tuple[bytes, str], ...]]


class ObjectInfos:
    """The newest unions of a few organisations, and the specs of a few answers."""

    def __init__(self) -> None:
        self._made: OrderedDict[Key, Info] = OrderedDict()
        self._specs: OrderedDict[bytes, NodeSpecs] = OrderedDict()

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

    async def specs(self, db: Database, organisation_id: str, classes: Iterable[str]) -> dict[str, NodeSpec]:
        """What classes take, as far as a machine that is there told; the newest answer where machines differ."""
        wanted = set(classes)
        found: dict[str, NodeSpec] = {}
        for name in await object_infos.newest(db, organisation_id):
            if not wanted:
                break
            specs = await self._specs_in(db, organisation_id, name)
            found |= {each: specs[each] for each in wanted & specs.keys()}
            wanted -= specs.keys()
        return found

    async def _specs_in(self, db: Database, organisation_id: str, name: bytes) -> NodeSpecs:
        """The specs of an answer, named by its content."""
        known = self._specs.get(name)
        if known is None:
            body = (await object_infos.bodies(db, organisation_id, [name])).get(name)
            if body is None:  # forgotten at this very moment
                return {}
            known = await asyncio.to_thread(_specs, body)
            self._specs[name] = known
            while len(self._specs) > MOST:
                self._specs.popitem(last=False)
        else:
            self._specs.move_to_end(name)
        return known


async def keep(db: Database, organisation_id: str, declared: dict[str, Any]) -> str:
    """Keep what a machine without an agent answers; returns its name, as an inventory has it."""
    packed = await asyncio.to_thread(pack, declared)
    name = bytes.fromhex(packed.hash)
    if not await object_infos.has(db, organisation_id, name):
        await object_infos.save(db, organisation_id, name, base64.b64decode(packed.body))
    return packed.hash


def _union(told: list[object_infos.Told], bodies: dict[bytes, bytes]) -> Info:
    machines: dict[bytes, list[str]] = {}
    for one in told:
        machines.setdefault(one.hash, []).append(one.name)
    answers: list[Answer] = [read(bodies[name], names) for name, names in machines.items() if name in bodies]
    return union(answers)


def _specs(body: bytes) -> NodeSpecs:
    return specs_of(read(body, []).classes)


INFOS: Final = ObjectInfos()
"""The process's: what it keeps is named by content, so that every application may share it."""
