"""What a version needs, takes and gives, and how versions differ, against the real server."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from drivers.wire import AskObjectInfo, Drain, Inventory, ModelFile
from tests.wire.fake_agent import connected, register
from tests.wire.strangers import stranger_of

pytestmark = pytest.mark.anyio

PATIENCE_S = 60.0
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
    declared = {node: {"input": {"required": {"seed": ["INT"]}}, "python_module": "custom_nodes.some-pack"}}
    graph = {
        "1": {"class_type": node, "inputs": {}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": model}},
    }
    ui_graph = {"nodes": [], "models": [{"name": model, "hash": HASH, "hash_type": "SHA256"}]}
    version = await _version(api, api_graph=graph, ui_graph=ui_graph)

    def holding(classes: list[str], sha256: str) -> Inventory:
        return Inventory(node_classes=classes, models=[ModelFile("loras", model, 1, sha256)])

    async with (
        connected(orchestrator.url, able, holding([node, "LoraLoader"], HASH), declared) as agent,
        connected(orchestrator.url, lacking, holding(["LoraLoader"], HASH)),
        connected(orchestrator.url, other, holding([node, "LoraLoader"], OTHER)),
    ):
        await agent.has(AskObjectInfo)
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
    declared = {f"Node{uuid4().hex}": {"input": {"required": {"x": ["INT", {"default": 1}]}}}}
    first, second = await register(api), await register(api)
    inventory = Inventory(node_classes=list(declared))
    async with connected(orchestrator.url, first, inventory, declared) as agent:
        await agent.has(AskObjectInfo)
        await agent.has(Drain)
    for machine in (second, first):
        asked = True
        async with asyncio.timeout(PATIENCE_S):
            while asked:  # the answer to the first question may still be on its way
                async with connected(orchestrator.url, machine, inventory, declared) as agent:
                    await agent.has(Drain)
                    asked = any(isinstance(frame, AskObjectInfo) for frame in agent.frames)
        assert not asked


async def test_an_older_agents_words_are_taken(api, orchestrator):
    """One that names its specs apart, as agents did, is connected, and is asked for nothing."""
    machine, node = await register(api), f"Node{uuid4().hex}"
    async with connected(orchestrator.url, machine, Inventory(node_classes=[node]), also={"specs": HASH}) as agent:
        await agent.has(Drain)
        assert not any(isinstance(frame, AskObjectInfo) for frame in agent.frames)
        shown = (await api.get(f"/api/v1/machines/{machine['id']}")).json()
    assert shown["inventory"]["node_classes"] == [node]


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
    declared = {node: {"input": {"required": {"seed": ["INT"], "size": ["INT", {"default": 1}]}}}}
    machine = await register(api)
    async with connected(orchestrator.url, machine, Inventory(node_classes=[node]), declared):
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


async def _workflow(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/workflows", json={"name": f"w {uuid4()}", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


SNAPSHOT = {"comfyui": "c" * 40, "git_custom_nodes": {"https://example.org/blurs": {"hash": "d" * 40}}}


async def test_versions_are_compared_and_taken_back(api):
    """The diff names what changed; an old version becomes the newest, as it was, under a number of its own."""
    workflow = await _workflow(api, api_graph=_graph("A"), snapshot=SNAPSHOT, comment="first")
    path = f"/api/v1/workflows/{workflow['id']}"
    second = (await api.post(f"{path}/versions", json={"api_graph": _graph("A", "B")})).json()
    first = workflow["version"]["id"]
    found = (await api.get(f"/api/v1/versions/{second['id']}/diff", params={"against": first})).json()
    assert found["nodes_added"] == [{"node_id": "1", "class_type": "B"}]
    assert found["packs_changed"] == [{"name": "blurs", "before": "d" * 40, "after": None}]
    restored = await api.post(f"{path}/versions/1/restore")
    assert (restored.status_code, restored.json()["version"]) == (201, 3)
    again = (await api.get(f"{path}/versions/3")).json()
    assert (again["api_graph"], again["snapshot"]) == (_graph("A"), SNAPSHOT)
    assert (await api.post(f"{path}/versions/9/restore")).status_code == 404
    assert (await api.get(f"/api/v1/versions/{second['id']}/diff")).json() == found, "against the one before"
    nothing = (await api.get(f"/api/v1/versions/{first}/diff")).json()
    assert [node["class_type"] for node in nothing["nodes_added"]] == ["A"]
    assert (await api.get(f"/api/v1/versions/{first}/diff", params={"against": str(uuid4())})).status_code == 404


async def test_an_export_is_taken_in_again(api):
    """As JSON and as a zip file; what comes in is the version that went out, in a workflow of its own."""
    ui_graph = {"nodes": [], "links": []}
    workflow = await _workflow(api, api_graph=_graph("A"), ui_graph=ui_graph, snapshot=SNAPSHOT, comment="as it was")
    path = f"/api/v1/workflows/{workflow['id']}/versions/1/export"
    as_json, as_zip = await api.get(path), await api.get(path, params={"format": "zip"})
    assert as_zip.headers["content-type"] == "application/zip"
    assert as_zip.headers["content-disposition"].endswith('-1.zip"')
    for body, kind in ((as_json.content, "application/json"), (as_zip.content, "application/zip")):
        made = await api.post("/api/v1/workflows/import", content=body, headers={"Content-Type": kind})
        assert made.status_code == 201, made.text
        assert (made.json()["name"], made.json()["latest_version"]) == (workflow["name"], 1)
        whole = (await api.get(f"/api/v1/workflows/{made.json()['id']}/versions/1")).json()
        assert (whole["api_graph"], whole["ui_graph"]) == (_graph("A"), ui_graph)
        assert (whole["snapshot"], whole["comment"]) == (SNAPSHOT, "as it was")
    broken = await api.post("/api/v1/workflows/import", content=b"PK", headers={"Content-Type": "application/zip"})
    assert (broken.status_code, broken.json()["code"]) == (422, "bad_archive")
    cyclic = {"name": "w", "api_graph": {"1": {"class_type": "A", "inputs": {"x": ["1", 0]}}}}
    assert (await api.post("/api/v1/workflows/import", json=cyclic)).json()["code"] == "cycle"
    assert (await api.post("/api/v1/workflows/import", json={"name": "w"})).status_code == 422
    assert (await api.post("/api/v1/workflows/import", content=b"{")).status_code == 400
    assert (await api.get(path, params={"format": "tar"})).status_code == 422


async def test_a_version_is_deleted_unless_something_points_to_it(api):
    """Seen no more, run no more, its number used no more; a deployment or a share of its runs holds it."""
    workflow = await _workflow(api, api_graph=_graph("A"))
    path = f"/api/v1/workflows/{workflow['id']}"
    second = (await api.post(f"{path}/versions", json={"api_graph": _graph("B")})).json()
    split = [{"version_id": second["id"], "percent": 1}]
    made = await api.post("/api/v1/deployments", json={"version_id": workflow["version"]["id"], "split": split})
    for number in (1, 2):
        held = await api.delete(f"{path}/versions/{number}")
        assert (held.status_code, held.json()["code"]) == (409, "version_in_use")
    await api.patch(f"/api/v1/deployments/{made.json()['id']}", json={"split": []})
    assert (await api.delete(f"{path}/versions/2")).status_code == 204
    assert (await api.delete(f"{path}/versions/2")).status_code == 404
    assert [one["version"] for one in (await api.get(f"{path}/versions")).json()["items"]] == [1]
    assert (await api.get(path)).json()["version"]["version"] == 1
    gone = [
        await api.get(f"{path}/versions/2"),
        await api.get(f"{path}/versions/2/export"),
        await api.get(f"/api/v1/versions/{second['id']}/schema"),
        await api.get(f"/api/v1/versions/{second['id']}/compatibility"),
        await api.post("/api/v1/runs", json={"version_id": second["id"]}),
    ]
    assert [answer.status_code for answer in gone] == [404] * 5
    deployed = await api.post("/api/v1/deployments", json={"version_id": second["id"]})
    assert (deployed.status_code, deployed.json()["code"]) == (422, "version_not_found")
    back = await api.post(f"/api/v1/deployments/{made.json()['id']}/rollback", json={})
    assert (back.status_code, back.json()["code"]) == (409, "version_gone")
    assert (await api.post(f"{path}/versions", json={"api_graph": _graph("C")})).json()["version"] == 3


async def test_a_workflow_is_renamed_by_who_saw_it(api):
    """The ETag changes with the name and with every version; an old one renames and deletes nothing."""
    workflow = await _workflow(api, api_graph=_graph("A"))
    path = f"/api/v1/workflows/{workflow['id']}"
    seen = (await api.get(path)).headers["etag"]
    renamed = await api.patch(path, json={"name": "other"}, headers={"If-Match": seen})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "other")
    assert renamed.headers["etag"] != seen
    for late in (
        await api.patch(path, json={"name": "late"}, headers={"If-Match": seen}),
        await api.delete(path, headers={"If-Match": seen}),
    ):
        assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    await api.post(f"{path}/versions", json={"api_graph": _graph("B")})
    assert (await api.delete(path, headers={"If-Match": renamed.headers["etag"]})).status_code == 412
    assert (await api.patch(path, json={"name": "anyway"})).status_code == 200
    assert (await api.patch(f"/api/v1/workflows/{uuid4()}", json={"name": "x"})).status_code == 404


async def test_a_version_tells_its_schema(api):
    """JSON Schemas of what a run may be given and of what it gives out."""
    graph = {
        "1": {"class_type": "ComfyUIDeployExternalEnum", "inputs": {"input_id": "style", "options": '["a", "b"]'}},
        "2": {"class_type": "ComfyDeployOutputImage", "inputs": {"output_id": "result"}},
    }
    version = await _version(api, api_graph=graph)
    told = (await api.get(f"/api/v1/versions/{version['id']}/schema")).json()
    assert told["inputs"]["properties"]["style"] == {"type": "string", "enum": ["a", "b"]}
    assert told["inputs"]["additionalProperties"] is False
    assert told["outputs"]["items"]["anyOf"][0]["title"] == "result"


async def test_another_organisations_versions_are_absent(api, orchestrator):
    """Neither seen nor compared with, exported, taken back, renamed or deleted by strangers."""
    workflow = await _workflow(api, api_graph=_graph("A"))
    path, version = f"/api/v1/workflows/{workflow['id']}", workflow["version"]["id"]
    async with stranger_of(orchestrator) as stranger:
        own = await _version(stranger, api_graph=_graph("B"))
        answers = [
            await stranger.get(f"/api/v1/versions/{version}/compatibility"),
            await stranger.get(f"/api/v1/versions/{version}/schema"),
            await stranger.get(f"/api/v1/versions/{version}/diff", params={"against": own["id"]}),
            await stranger.get(f"/api/v1/versions/{own['id']}/diff", params={"against": version}),
            await stranger.get(f"{path}/versions/1/export"),
            await stranger.post(f"{path}/versions/1/restore"),
            await stranger.delete(f"{path}/versions/1"),
            await stranger.patch(path, json={"name": "theirs"}),
        ]
    assert [answer.status_code for answer in answers] == [404] * 8
    assert (await api.get(path)).json()["name"] == workflow["name"]
