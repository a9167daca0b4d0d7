"""How one version differs from another: nodes, what they are given, models, packs and inputs. Pure.

Nodes are the same when they have the same id, as they have when a graph is edited and exported again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from msgspec import UNSET

from orchestrator.runs.requirements import Requirements
from orchestrator.wire import ChangedInput, ChangedNode, ChangedPack, ModelNeed, NodeName, VersionDiff

T = TypeVar("T")


def diff(
    before: Mapping[str, Any], after: Mapping[str, Any], needs_before: Requirements, needs_after: Requirements
) -> VersionDiff:
    """What has to be done to the first version to get the second."""
    models = {model.name: model for model in needs_before.models}, {model.name: model for model in needs_after.models}
    inputs = {one.input_id: one for one in needs_before.inputs}, {one.input_id: one for one in needs_after.inputs}
    return VersionDiff(
        nodes_added=[_name(node_id, after[node_id]) for node_id in after if node_id not in before],
        nodes_removed=[_name(node_id, before[node_id]) for node_id in before if node_id not in after],
        nodes_changed=_changed(before, after),
        models_added=_only(models[1].values(), models[0]),
        models_removed=_only(models[0].values(), models[1]),
        packs_changed=_packs(needs_before, needs_after),
        inputs_added=[name for name in inputs[1] if name not in inputs[0]],
        inputs_removed=[name for name in inputs[0] if name not in inputs[1]],
        inputs_changed=[name for name in inputs[1] if name in inputs[0] and inputs[0][name] != inputs[1][name]],
    )


def _name(node_id: str, node: Mapping[str, Any]) -> NodeName:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return NodeName(node_id, str(node.get("class_type")), title if isinstance(title, str) else "")


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ChangedNode]:
    found = []
    for node_id, node in after.items():
        old = before.get(node_id)
        if old is None:
            continue
        name = _name(node_id, node)
        changes = _inputs(old.get("inputs") or {}, node.get("inputs") or {})
        was = str(old.get("class_type"))
        if changes or was != name.class_type:
            other = "" if was == name.class_type else was
            found.append(ChangedNode(node_id, name.class_type, name.title, other, changes))
    return found


def _inputs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ChangedInput]:
    names = dict.fromkeys([*before, *after])
    return [
        ChangedInput(name, before.get(name, UNSET), after.get(name, UNSET))
        for name in names
        if before.get(name, UNSET) != after.get(name, UNSET) or _kind(before, name) != _kind(after, name)
    ]


def _kind(values: Mapping[str, Any], name: str) -> type:
    """Told apart, since 1 and True are equal."""
    return type(values.get(name))


def _only(models: Iterable[ModelNeed], other: Mapping[str, ModelNeed]) -> list[ModelNeed]:
    return [model for model in models if model.name not in other or other[model.name].sha256 != model.sha256]


def _packs(before: Requirements, after: Requirements) -> list[ChangedPack]:
    old = {pack.name: pack.commit or pack.version for pack in before.packs}
    new = {pack.name: pack.commit or pack.version for pack in after.packs}
    return [
        ChangedPack(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
