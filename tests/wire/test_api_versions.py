"""What a version needs, takes and gives, and how versions differ, against the real server."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from drivers.wire import AskSpecs, Drain, Inventory, ModelFile, NodeSpec, Widget
from tests.wire.fake_agent import connected, register

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
HASH, OTHER = "a" * 64, "b" * 64


def _graph(*classes: str) -> dict[str, Any]:
    graph: dict[str, Any] = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(classes)}
    return graph


async def _version(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/workflows", json={"name": f"w {uuid4()}", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["version"]


async def test_every_machine_is_compared_with_the_version(api, orchestrator):
    """One machine can run it, one lacks a node whose pack the other told, one has another file of the name."""
    pool = {"room": str(uuid4())}
    able, lacking, other = [await register(api, labels=pool) for _ in range(3)]
    node, model = f"Node{uuid4().hex}", f"{uuid4()}.safetensors"
    specs = {node: NodeSpec([Widget("seed", 0)], "some-pack")}
    graph = {
        "1": {"class_type": node, "inputs": {}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": model}},
    }
    ui_graph = {"nodes": [], "models": [{"name": model, "hash": HASH, "hash_type": "SHA256"}]}
    version = await _version(api, api_graph=graph, ui_graph=ui_graph)

    def holding(classes: list[str], sha256: str) -> Inventory:
        return Inventory(node_classes=classes, models=[ModelFile("loras", model, 1, sha256)])

    async with (
        connected(orchestrator.url, able, holding([node, "LoraLoader"], HASH), specs) as agent,
        connected(orchestrator.url, lacking, holding(["LoraLoader"], HASH)),
        connected(orchestrator.url, other, holding([node, "LoraLoader"], OTHER)),
    ):
        await agent.has(AskSpecs)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await api.get(f"/api/v1/versions/{version['id']}/compatibility")
                told = {one["machine_id"]: one for one in answer.json()["machines"]}
                if told[lacking["id"]]["missing_nodes"][0].get("pack"):
                    break
                await asyncio.sleep(0.05)
    assert told[able["id"]]["verdict"] == "able"
    assert told[lacking["id"]]["missing_nodes"] == [{"class_type": node, "pack": "some-pack"}]
    assert told[other["id"]]["other_models"] == [{"name": model, "sha256": HASH, "found": [OTHER]}]
    summary = answer.json()["summary"]
    assert f"{lacking['name']} lacks node {node} (pack some-pack)" in summary
    assert f"{other['name']} has model {model} with another hash" in summary
    # Nobody is connected any more: what they said last still counts.
    later = (await api.get(f"/api/v1/versions/{version['id']}/compatibility")).json()
    assert later["able"] == answer.json()["able"] >= 1
    assert (await api.get(f"/api/v1/versions/{uuid4()}/compatibility")).status_code == 404


async def test_what_classes_take_is_asked_for_once(api, orchestrator):
    """A second machine that declares the same is not asked, and neither is the first when it dials again."""
    specs = {f"Node{uuid4().hex}": NodeSpec([Widget("x", 1)])}
    first, second = await register(api), await register(api)
    inventory = Inventory(node_classes=list(specs))
    async with connected(orchestrator.url, first, inventory, specs) as agent:
        await agent.has(AskSpecs)
        await agent.has(Drain)
    for machine in (second, first):
        asked = True
        async with asyncio.timeout(PATIENCE_S):
            while asked:  # the answer to the first question may still be on its way
                async with connected(orchestrator.url, machine, inventory, specs) as agent:
                    await agent.has(Drain)
                    asked = any(isinstance(frame, AskSpecs) for frame in agent.frames)
        assert not asked


async def test_a_run_that_nobody_can_ever_run_is_refused(api, orchestrator):
    """With the reason of each machine; as soon as one can it is taken, and the machine may then be gone."""
    pool = {"room": str(uuid4())}
    machine, node = await register(api, labels=pool), f"Node{uuid4().hex}"
    version = await _version(api, api_graph=_graph(node))
    body = {"version_id": version["id"], "pool": pool}
    unknown = await api.post("/api/v1/runs", json=body)
    assert unknown.status_code == 202, "a machine that has said nothing yet may turn out able"
    await api.post(f"/api/v1/runs/{unknown.json()['id']}/cancel")
    fresh = await _version(api, api_graph=_graph(node, "Second"))
    async with connected(orchestrator.url, machine, Inventory(node_classes=["Elsewhere"])):
        refused = await api.post("/api/v1/runs", json={**body, "version_id": fresh["id"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "no_machine_can_run")
    assert refused.json()["errors"] == [
        {"path": f"machines.{machine['name']}", "message": f"lacks node {node} and 1 more", "code": "machine_unable"}
    ]
    nowhere = await api.post("/api/v1/runs", json={**body, "version_id": fresh["id"], "pool": {"room": str(uuid4())}})
    assert nowhere.status_code == 202, "no machine is there yet: it waits for one"
    await api.post(f"/api/v1/runs/{nowhere.json()['id']}/cancel")
    async with connected(orchestrator.url, machine, Inventory(node_classes=[node, "Second"])):
        pass
    taken = await api.post("/api/v1/runs", json={**body, "version_id": fresh["id"]})
    assert taken.status_code == 202
    await api.post(f"/api/v1/runs/{taken.json()['id']}/cancel")


async def test_an_editors_graph_is_converted_when_it_comes_alone(api, orchestrator):
    """By what a machine told of the class; until one has, the node is named, and nothing is stored."""
    node = f"Node{uuid4().hex}"
    ui_graph = {
        "nodes": [
            {"id": 4, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 1}], "outputs": [{"type": "*"}]},
            {"id": 5, "type": node, "widgets_values": [7, "randomize", 3], "outputs": [{"type": "IMAGE"}]},
            {"id": 6, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 2}]},
        ],
        "links": [[1, 5, 0, 4, 0, "IMAGE"], [2, 4, 0, 6, 0, "IMAGE"]],
    }
    body = {"name": f"w {uuid4()}", "ui_graph": ui_graph}
    refused = await api.post("/api/v1/workflows", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_class")
    assert [error["path"] for error in refused.json()["errors"]] == ["ui_graph.nodes.5"]
    specs = {node: NodeSpec([Widget("seed", 0), Widget("control_after_generate", "fixed", False), Widget("size", 1)])}
    machine = await register(api)
    async with connected(orchestrator.url, machine, Inventory(node_classes=[node]), specs):
        async with asyncio.timeout(PATIENCE_S):
            while (made := await api.post("/api/v1/workflows", json=body)).status_code != 201:
                await asyncio.sleep(0.05)
    whole = (await api.get(f"/api/v1/workflows/{made.json()['id']}/versions/1")).json()
    assert whole["api_graph"] == {
        "5": {"class_type": node, "inputs": {"seed": 7, "size": 3}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}},
    }
    assert whole["ui_graph"] == ui_graph
    neither = await api.post(f"/api/v1/workflows/{made.json()['id']}/versions", json={"comment": "nothing"})
    assert (neither.status_code, neither.json()["errors"][0]["path"]) == (422, "api_graph")
