"""What a version says of the environment it was made in: the snapshot's packs, the editor's models and packs. Pure.

The snapshot is as ComfyUI-Manager writes it, the editor's graph as ComfyUI's front end saves it. Both are kept as they
came; what is not understood is passed over, since neither decides whether the graph is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.wire import PackNeed

MOST_PACKS: Final = 1_000
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_CORE: Final = "comfy-core"


def packs_of(snapshot: Any) -> list[PackNeed]:
    """The packs that were switched on: by git with their commit, by the registry with their version."""
    given = _object(snapshot)
    packs = [
        PackNeed(_last(url), url=url, commit=_text(pack.get("hash")))
        for url, pack in _objects(given.get("git_custom_nodes"))
        if not pack.get("disabled")
    ]
    registry = _object(given.get("cnr_custom_nodes"))
    packs += [PackNeed(name, version=_text(version)) for name, version in registry.items() if name]
    return packs[:MOST_PACKS]


def model_hashes(ui_graph: Any) -> dict[str, str]:
    """File name -> sha256 of the models that the editor's graph, or a node of it, describes with a hash."""
    hashes: dict[str, str] = {}
    for model in _described_models(ui_graph):
        name, text = model.get("name"), _text(model.get("hash"))
        kind = _text(model.get("hash_type")).upper().replace("-", "")
        if isinstance(name, str) and kind in ("SHA256", "") and _SHA256.fullmatch(text):
            hashes.setdefault(name, text.lower())
    return hashes


def node_packs(ui_graph: Any) -> dict[str, str]:
    """class_type -> the pack that the editor says it is of; ComfyUI's own nodes are left out."""
    packs: dict[str, str] = {}
    for node in nodes_of(ui_graph):
        properties = _object(node.get("properties"))
        name = _text(properties.get("cnr_id")) or _last(_text(properties.get("aux_id")))
        if name and name != _CORE and isinstance(node.get("type"), str):
            packs.setdefault(node["type"], name)
    return packs


def nodes_of(ui_graph: Any) -> Iterator[Mapping[str, Any]]:
    """Every node of the editor's graph, those inside of its subgraphs too."""
    given = _object(ui_graph)
    definitions = _object(given.get("definitions")).get("subgraphs")
    for graph in [given, *(definitions if isinstance(definitions, list) else [])]:
        nodes = _object(graph).get("nodes")
        for node in nodes if isinstance(nodes, list) else []:
            if isinstance(node, dict):
                yield node


def _described_models(ui_graph: Any) -> Iterator[Mapping[str, Any]]:
    lists = [_object(ui_graph).get("models")]
    lists += [_object(node.get("properties")).get("models") for node in nodes_of(ui_graph)]
    for models in lists:
        for model in models if isinstance(models, list) else []:
            if isinstance(model, dict):
                yield model


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, item in _object(value).items():
        if isinstance(item, dict):
            yield name, item


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _last(path: str) -> str:
    """The last part of a URL or of `owner/name`, without .git."""
    return path.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
