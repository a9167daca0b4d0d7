"""Who gets a run: waiting runs and machines in, placements out. Pure; it does not know where either came from.

A lane is a set of runs that fit the same machines (same organisation, version, pool and pinned machine). Eligibility is
decided once per lane and machine; then each run takes the best machine of its lane by score, from a heap whose scores
are looked at again when they are popped, so that 500 runs over 1,000 machines cost about 500 log 1,000.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from drivers.wire import MachineId, RunId

WARM: Final = 2.0
IDLE: Final = 1.0
SPEED: Final = 0.5
TRIED: Final = 100.0


class Demand(Struct, frozen=True):
    """What a lane's runs need of a machine. models are file names as the graph gives them; hashes of some of these."""

    organisation_id: str
    version_id: str
    node_classes: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    pool: tuple[tuple[str, str], ...] = ()
    pinned: MachineId | None = None
    hashes: tuple[tuple[str, str], ...] = ()


class MachineView(Struct):
    """A machine as the scheduler sees it. free is used up by placements; speeds are execute times in ms by version.

    versions: the only ones that it may be given; None: any.
    """

    id: MachineId
    organisation_id: str
    name: str
    free: int
    slots: int
    ready: bool = True
    labels: Mapping[str, str] = {}
    node_classes: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    hashes: Mapping[str, frozenset[str]] = {}
    versions: frozenset[str] | None = None
    warm: frozenset[str] = frozenset()
    speeds: Mapping[str, float] = {}


class Waiting(Struct, frozen=True):
    """A run in the queue, in queue order. tried: machines where an attempt already failed."""

    run_id: RunId
    lane: int
    tried: frozenset[MachineId] = frozenset()


class Why(Struct, frozen=True, omit_defaults=True):
    """What counted when a machine was chosen: how many fitted, and the facts behind its score.

    warm: it was given this version lately; speed_ms is its own average for the version, fastest_ms the best of all.
    """

    fitting: int
    score: float
    free: int
    slots: int
    warm: bool = False
    tried_before: bool = False
    speed_ms: float | None = None
    fastest_ms: float | None = None


class Placement(Struct, frozen=True):
    """This run goes to this machine."""

    run_id: RunId
    machine_id: MachineId
    why: Why | None = None


class Plan(Struct, frozen=True):
    """Placements, and the lanes nobody here can serve now: unfit ones (no machine ever) and full ones (no slot)."""

    placements: list[Placement]
    unfit: set[int]
    full: set[int]


def lane_of(demand: Demand) -> int:
    """A signed 64-bit name for the demand's lane: version, pool and pinned machine decide it."""
    text = "\n".join([demand.organisation_id, demand.version_id, demand.pinned or "", *map("=".join, demand.pool)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def why_unfit(demand: Demand, machine: MachineView) -> str | None:
    """The first reason why this machine can never take the lane's runs as it stands, or None when it can."""
    if machine.organisation_id != demand.organisation_id:
        return "belongs to another organisation"
    if demand.pinned is not None and machine.id != demand.pinned:
        return "is not the machine the deployment is pinned to"
    if not machine.ready:
        return "is not taking runs (draining, quarantined, disconnected or not yet enrolled)"
    if machine.versions is not None and demand.version_id not in machine.versions:
        return "is kept for other versions by its policy"
    for key, value in demand.pool:
        if machine.labels.get(key) != value:
            return f"lacks the label {key}={value}"
    missing = demand.node_classes - machine.node_classes
    if missing:
        return f"has no node {sorted(missing)[0]}"
    lacking = demand.models - machine.models
    if lacking:
        return f"has no model {sorted(lacking)[0]}"
    other = next((name for name, sha256 in demand.hashes if sha256 not in machine.hashes.get(name, {sha256})), None)
    return None if other is None else f"has another file as model {other}"


def score(demand: Demand, machine: MachineView, fastest: float) -> float:
    """Higher is better: a warm model first, then idle slots, then measured speed relative to the fastest."""
    warm = WARM if demand.version_id in machine.warm else 0.0
    idle = IDLE * machine.free / max(1, machine.slots)
    speed = machine.speeds.get(demand.version_id)
    return warm + idle + (SPEED * fastest / speed if speed else SPEED / 2)


class _Lane:
    """The machines that fit one lane, best first."""

    def __init__(self, demand: Demand, machines: Iterable[MachineView]) -> None:
        self.demand = demand
        self.fit = [machine for machine in machines if why_unfit(demand, machine) is None]
        times = [m.speeds[demand.version_id] for m in self.fit if demand.version_id in m.speeds]
        self.fastest = min(times, default=1.0)
        self._heap = [self._entry(place, machine) for place, machine in enumerate(self.fit)]
        heapq.heapify(self._heap)

    def _entry(self, place: int, machine: MachineView) -> tuple[float, int]:
        return (-score(self.demand, machine, self.fastest), place)

    def best(self, tried: frozenset[MachineId]) -> MachineView | None:
        """The best machine with a free slot; one already tried only when no other has room."""
        aside: list[tuple[float, int]] = []
        found: MachineView | None = None
        while self._heap and found is None:
            entry = heapq.heappop(self._heap)
            machine = self.fit[entry[1]]
            if machine.free <= 0:
                continue
            now = self._entry(entry[1], machine)
            if now > entry:
                heapq.heappush(self._heap, now)
            elif machine.id in tried:
                aside.append(now)
            else:
                found = machine
                aside.append(now)
        for entry in aside:
            heapq.heappush(self._heap, entry)
        if found is None and aside:
            return self.fit[min(aside)[1]]
        return found

    def why(self, machine: MachineView, tried: frozenset[MachineId]) -> Why:
        """What speaks for the machine, before its slot is taken."""
        speed = machine.speeds.get(self.demand.version_id)
        return Why(
            fitting=len(self.fit),
            score=round(score(self.demand, machine, self.fastest), 3),
            free=machine.free,
            slots=machine.slots,
            warm=self.demand.version_id in machine.warm,
            tried_before=machine.id in tried,
            speed_ms=speed,
            fastest_ms=None if speed is None else self.fastest,
        )


def choose(
    waiting: Sequence[Waiting],
    demands: Mapping[int, Demand],
    machines: Sequence[MachineView],
    room: Mapping[str, int] | None = None,
) -> Plan:
    """Place as many waiting runs as there is room for, in queue order. machines' `free` is counted down.

    room: how many more runs an organisation may have on machines; one that is not named, any number.
    """
    left = dict(room or {})
    lanes: dict[int, _Lane] = {}
    plan = Plan([], set(), set())
    for run in waiting:
        lane = lanes.get(run.lane)
        if lane is None:
            lane = lanes[run.lane] = _Lane(demands[run.lane], machines)
        organisation_id = lane.demand.organisation_id
        if left.get(organisation_id) == 0:
            plan.full.add(run.lane)
            continue
        machine = lane.best(run.tried)
        if machine is None:
            (plan.full if lane.fit else plan.unfit).add(run.lane)
            continue
        plan.placements.append(Placement(run.run_id, machine.id, lane.why(machine, run.tried)))
        machine.free -= 1
        if organisation_id in left:
            left[organisation_id] -= 1
    return plan


def explain(reasons: Sequence[tuple[str, str]], total: int, again: str | None = None) -> str:
    """Why nobody takes a run, for people. reasons: (machine name, what it lacks) of those looked at; total machines.

    again: what went wrong with the last attempt, when the run waits for another.
    """
    if total == 0:
        return "no machine is registered: register one and enrol its agent"
    if len(reasons) < total:
        return again or "every machine that can run it is busy"
    common = {reason for _, reason in reasons}
    if len(common) == 1:
        return _of_all(common.pop())
    named = "; ".join(f"{name} {reason}" for name, reason in reasons[:5])
    more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    return f"none of {total} machines can run it: {named}{more}"


def explain_choice(machine: str, why: Mapping[str, Any] | None) -> str:
    """Why a run is on this machine, for people. why: a Why as it was stored; None: it was not noted."""
    if why is None:
        return f"it is on {machine}"
    fitting = why["fitting"]
    said = ["the only machine that fits" if fitting == 1 else f"the best of {fitting} machines that fit"]
    if why.get("warm"):
        said.append("it ran this version lately")
    said.append(f"{why['free']} of {why['slots']} slots were free")
    if why.get("speed_ms"):
        said.append(f"it takes about {why['speed_ms']:.0f} ms for this version, the fastest {why['fastest_ms']:.0f} ms")
    if why.get("tried_before"):
        said.append("an earlier attempt failed there, and no other had room")
    return f"it is on {machine}: {', '.join(said)}"


def _of_all(reason: str) -> str:
    """What one machine lacks, said of every machine."""
    for said_of_one, said_of_all in (("has no ", "has "), ("lacks ", "has "), ("is not ", "is ")):
        if reason.startswith(said_of_one):
            return f"no machine {said_of_all}{reason.removeprefix(said_of_one)}"
    return f"every machine {reason}"
