"""Can a machine run a version: what the version needs beside what the machine says it has. Pure.

A machine that is offline, busy or draining counts by what it last said. One that has said nothing is unknown: it may
turn out able. A model of another content than the version names is a hindrance, a pack at another commit is only told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from orchestrator.errors import FieldError
from orchestrator.runs.requirements import Requirements
from orchestrator.wire import (
    Compatibility,
    MachineCompatibility,
    MachineState,
    MissingNode,
    OtherModel,
    OtherPack,
)

NAMED: Final = 5
_SHORTEST_COMMIT: Final = 7
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Holdings(Struct, frozen=True):
    """What a machine last said it has. hashes: of its files by name, where all of that name are hashed."""

    node_classes: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    hashes: Mapping[str, frozenset[str]] = {}
    packs: Mapping[str, str] = {}


class Candidate(Struct, frozen=True):
    """A machine that runs might go to."""

    id: str
    name: str
    state: MachineState
    labels: Mapping[str, str]
    holdings: Holdings


def holdings_of(inventory: Mapping[str, Any]) -> Holdings:
    """What an inventory (drivers.wire.Inventory, as stored) says. Packs whose commit is not known are left out."""
    files = [(model["name"], model.get("sha256")) for model in inventory.get("models") or []]
    packs = {pack["name"]: pack["commit"] for pack in inventory.get("packs") or [] if pack.get("commit")}
    classes = frozenset(inventory.get("node_classes") or [])
    return Holdings(classes, frozenset(name for name, _ in files), hashes_of(files), packs)


def hashes_of(files: Iterable[tuple[str, str | None]]) -> dict[str, frozenset[str]]:
    """File name -> the hashes of the files of that name; a name with a file that has no hash yet is left out."""
    found: dict[str, set[str | None]] = {}
    for name, sha256 in files:
        found.setdefault(name, set()).add(sha256 or None)
    return {name: frozenset(filter(None, hashes)) for name, hashes in found.items() if None not in hashes}


def is_sha256(text: str) -> bool:
    """Whether it can be the sha256 of something, in lower case hexadecimal."""
    return _SHA256.fullmatch(text) is not None


def judge(needs: Requirements, machine: Candidate, packs: Mapping[str, str]) -> MachineCompatibility:
    """One machine beside the version. packs: which pack a class is of, as far as anybody knows."""
    has = machine.holdings
    found = MachineCompatibility(machine.id, machine.name, machine.state, "unknown")
    if not has.node_classes:
        return found
    found.missing_nodes = [
        MissingNode(name, packs.get(name, "")) for name in needs.node_classes if name not in has.node_classes
    ]
    found.missing_models = [model for model in needs.models if model.name not in has.models]
    found.other_models = [
        OtherModel(model.name, model.sha256, sorted(has.hashes[model.name]))
        for model in needs.models
        if model.sha256 and model.sha256 not in has.hashes.get(model.name, {model.sha256})
    ]
    found.other_packs = _other_packs(needs, has, packs)
    hindered = found.missing_nodes or found.missing_models or found.other_models
    found.verdict = "unable" if hindered else "able"
    return found


def _other_packs(needs: Requirements, has: Holdings, packs: Mapping[str, str]) -> list[OtherPack]:
    """Packs at another commit, of those that a class of the version is known to come from."""
    used = {packs[name].lower() for name in needs.node_classes if name in packs}
    here = {name.lower(): commit for name, commit in has.packs.items()}
    return [
        OtherPack(pack.name, pack.commit, here[pack.name.lower()])
        for pack in needs.packs
        if pack.commit and pack.name.lower() in used and pack.name.lower() in here
        if not _same_commit(pack.commit, here[pack.name.lower()])
    ]


def _same_commit(one: str, other: str) -> bool:
    short = min(len(one), len(other))
    return short >= _SHORTEST_COMMIT and one[:short].lower() == other[:short].lower()


def compare(
    version_id: str, needs: Requirements, machines: Sequence[Candidate], packs: Mapping[str, str]
) -> Compatibility:
    """The version beside every machine."""
    judged = [judge(needs, machine, packs) for machine in machines]
    able = sum(one.verdict == "able" for one in judged)
    return Compatibility(version_id, able, len(judged), summary(judged), judged)


def summary(judged: Sequence[MachineCompatibility]) -> str:
    """For people: how many machines can run it, and what the first of the others lack."""
    if not judged:
        return "no machine is registered"
    able = sum(one.verdict == "able" for one in judged)
    others = [f"{one.name} {lack(one)}" for one in judged if one.verdict != "able"]
    count = f"{able} of {len(judged)} machines can run it"
    more = [f"and {len(others) - NAMED} more"] if len(others) > NAMED else []
    return "; ".join([count, *others[:NAMED], *more])


def lack(one: MachineCompatibility) -> str:
    """What hinders one machine, in words; the first of each kind by name."""
    if one.verdict == "unknown":
        return "has not said yet what it has"
    words = []
    if one.missing_nodes:
        node = one.missing_nodes[0]
        pack = f" (pack {node.pack})" if node.pack else ""
        words.append(f"lacks node {node.class_type}{pack}{_and_more(one.missing_nodes)}")
    if one.missing_models:
        words.append(f"lacks model {one.missing_models[0].name}{_and_more(one.missing_models)}")
    if one.other_models:
        words.append(f"has model {one.other_models[0].name} with another hash{_and_more(one.other_models)}")
    return ", ".join(words)


def _and_more(things: Sequence[Any]) -> str:
    return f" and {len(things) - 1} more" if len(things) > 1 else ""


def eligible(machines: Sequence[Candidate], pool: Mapping[str, str], pinned: str | None) -> list[Candidate]:
    """The machines that a run may be placed on: those with the pool's labels, or the one it is pinned to."""
    return [
        machine
        for machine in machines
        if (pinned is None or machine.id == pinned)
        and all(machine.labels.get(key) == value for key, value in pool.items())
    ]


def refusal(judged: Sequence[MachineCompatibility]) -> list[FieldError]:
    """Why nobody can ever run it, a reason for each machine; empty: somebody can, or may turn out to.

    No machine at all is no refusal: one may still be registered.
    """
    if any(one.verdict != "unable" for one in judged):
        return []
    return [FieldError(f"machines.{one.name}", lack(one), "machine_unable") for one in judged]
