"""Machines, workflows and deployments through the API, and the wall between organisations, against the real server."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestrator.store import machines
from orchestrator.store.db import Database
from orchestrator.store.ids import digest

pytestmark = pytest.mark.anyio

GRAPH: dict[str, Any] = {
    "1": {"class_type": "ComfyUIDeployExternalImage", "inputs": {"input_id": "photo", "display_name": "Photo"}},
    "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "realesr-animevideov3-x4.pth"}},
    "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "up"}},
}


async def _machine(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await api.post("/api/v1/machines", json={"name": f"machine {uuid4()}"} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _workflow(api: httpx.AsyncClient) -> dict[str, Any]:
    answer = await api.post("/api/v1/workflows", json={"name": "upscale", "api_graph": GRAPH})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def db(orchestrator):
    """The orchestrator's own database."""
    database = await Database.open(orchestrator.database_url, max_size=2)
    yield database
    await database.close()


async def test_a_machine_is_registered_enrolled_drained_and_deleted(api, db, orchestrator):
    """The whole life of a machine; its enrol token works once, its credential ends with it."""
    machine = await _machine(api, labels={"pool": "fast"})
    assert machine["state"] == "pending"
    assert machine["connected"] is False
    path = f"/api/v1/machines/{machine['id']}"
    token = (await api.post(f"{path}/enrol-token")).json()
    assert token["command"].startswith(f"python -m machine_agent run --url {orchestrator.url} --enrol-token cfe_")
    first = await machines.enrol(db, digest(token["token"]), digest("credential"), "1.0")
    again = await machines.enrol(db, digest(token["token"]), digest("other"), "1.0")
    assert first is not None
    assert again is None
    assert (await api.get(path)).json()["state"] == "ready"
    assert (await api.post(f"{path}/drain")).json()["state"] == "draining"
    assert (await api.post(f"{path}/undrain")).json()["state"] == "ready"
    renamed = await api.patch(path, json={"name": f"new {machine['id']}"})
    assert renamed.json()["labels"] == {"pool": "fast"}
    assert (await machines.by_credential(db, digest("credential"))).id == machine["id"]
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert await machines.by_credential(db, digest("credential")) is None


async def test_a_name_is_taken_once_and_free_after_deletion(api):
    """A second machine of the same name is a 409; after the first is deleted the name can be used."""
    machine = await _machine(api)
    twice = await api.post("/api/v1/machines", json={"name": machine["name"]})
    assert (twice.status_code, twice.json()["code"]) == (409, "name_taken")
    await api.delete(f"/api/v1/machines/{machine['id']}")
    assert (await api.post("/api/v1/machines", json={"name": machine["name"]})).status_code == 201


async def test_a_kind_without_a_driver_is_refused_with_the_reason(api):
    """modal-serverless has its room, but no driver yet: 422, and the reason is told."""
    answer = await api.post("/api/v1/machines", json={"name": "m", "kind": "modal-serverless"})
    assert (answer.status_code, answer.json()["code"]) == (422, "driver_absent")
    assert "drivers/modal.py" in answer.json()["detail"]


async def test_a_version_says_what_it_takes_and_what_a_machine_must_have(api):
    """Inputs, node classes and models are read from the graph."""
    workflow = await _workflow(api)
    version = workflow["version"]
    assert version["version"] == workflow["latest_version"] == 1
    assert [(spec["input_id"], spec["kind"]) for spec in version["inputs"]] == [("photo", "image")]
    assert version["models"] == [{"name": "realesr-animevideov3-x4.pth", "folder": "upscale_models", "node_id": "2"}]
    assert "ImageUpscaleWithModel" in version["node_classes"]
    whole = (await api.get(f"/api/v1/workflows/{workflow['id']}/versions/1")).json()
    assert whole["api_graph"] == GRAPH
    assert "api_graph" not in (await api.get(f"/api/v1/workflows/{workflow['id']}")).json()["version"]


async def test_version_numbers_are_never_used_twice(api):
    """Twenty uploads at once get twenty numbers without a gap."""
    workflow = await _workflow(api)
    path = f"/api/v1/workflows/{workflow['id']}/versions"
    answers = await asyncio.gather(*(api.post(path, json={"api_graph": GRAPH}) for _ in range(20)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, 22))
    listed = (await api.get(path, params={"limit": 100})).json()["items"]
    assert len(listed) == 21


async def test_a_deployment_is_made_once_and_then_moved(api):
    """The same environment again answers 200 and the same id; null unpins the machine."""
    workflow, machine = await _workflow(api), await _machine(api)
    second = (await api.post(f"/api/v1/workflows/{workflow['id']}/versions", json={"api_graph": GRAPH})).json()
    first = await api.post("/api/v1/deployments", json={"version_id": workflow["version"]["id"]})
    moved = await api.post(
        "/api/v1/deployments", json={"version_id": second["id"], "machine_id": machine["id"], "pool": {"a": "b"}}
    )
    assert (first.status_code, moved.status_code) == (201, 200)
    assert first.json()["id"] == moved.json()["id"]
    assert (moved.json()["version"], moved.json()["machine_id"]) == (2, machine["id"])
    unpinned = await api.patch(f"/api/v1/deployments/{first.json()['id']}", json={"machine_id": None})
    assert "machine_id" not in unpinned.json()
    assert unpinned.json()["pool"] == {"a": "b"}
    assert (await api.delete(f"/api/v1/deployments/{first.json()['id']}")).status_code == 204
    assert (await api.get(f"/api/v1/deployments/{first.json()['id']}")).status_code == 404


async def test_deleting_a_workflow_takes_its_deployments_along(api):
    """After the deletion neither can be seen, and no version can be added."""
    workflow = await _workflow(api)
    made = await api.post("/api/v1/deployments", json={"version_id": workflow["version"]["id"]})
    assert (await api.delete(f"/api/v1/workflows/{workflow['id']}")).status_code == 204
    assert (await api.get(f"/api/v1/deployments/{made.json()['id']}")).status_code == 404
    path = f"/api/v1/workflows/{workflow['id']}/versions"
    assert (await api.post(path, json={"api_graph": GRAPH})).status_code == 404


async def test_another_organisations_things_look_absent(api, stranger):
    """Reading, changing, deleting or naming another organisation's things is a 404 or a 422, and changes nothing."""
    workflow, machine = await _workflow(api), await _machine(api)
    version_id = workflow["version"]["id"]
    deployment = (await api.post("/api/v1/deployments", json={"version_id": version_id})).json()
    upload = await api.post("/api/v1/files", files={"file": ("a.png", b"content", "image/png")})
    key = (await api.post("/api/v1/api-keys", json={"name": "mine"})).json()
    answers = [
        await stranger.get(f"/api/v1/machines/{machine['id']}"),
        await stranger.patch(f"/api/v1/machines/{machine['id']}", json={"name": "theirs"}),
        await stranger.post(f"/api/v1/machines/{machine['id']}/drain"),
        await stranger.post(f"/api/v1/machines/{machine['id']}/enrol-token"),
        await stranger.delete(f"/api/v1/machines/{machine['id']}"),
        await stranger.get(f"/api/v1/workflows/{workflow['id']}"),
        await stranger.get(f"/api/v1/workflows/{workflow['id']}/versions"),
        await stranger.get(f"/api/v1/workflows/{workflow['id']}/versions/1"),
        await stranger.post(f"/api/v1/workflows/{workflow['id']}/versions", json={"api_graph": GRAPH}),
        await stranger.delete(f"/api/v1/workflows/{workflow['id']}"),
        await stranger.get(f"/api/v1/deployments/{deployment['id']}"),
        await stranger.patch(f"/api/v1/deployments/{deployment['id']}", json={"pool": {"x": "y"}}),
        await stranger.delete(f"/api/v1/deployments/{deployment['id']}"),
        await stranger.get(f"/api/v1/files/{upload.json()['id']}"),
        await stranger.delete(f"/api/v1/api-keys/{key['id']}"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    named = [
        await stranger.post("/api/v1/deployments", json={"version_id": version_id}),
        await api.patch(f"/api/v1/deployments/{deployment['id']}", json={"machine_id": str(uuid4())}),
    ]
    assert [answer.status_code for answer in named] == [422, 422]
    for resource in ("machines", "workflows", "deployments"):
        assert (await stranger.get(f"/api/v1/{resource}")).json()["items"] == []
    assert (await api.get(f"/api/v1/machines/{machine['id']}")).json() == machine
    assert (await api.get(f"/api/v1/deployments/{deployment['id']}")).json() == deployment


async def test_every_change_leaves_a_line_in_the_audit_log(api, db):
    """Who did what to which machine stands in the log."""
    machine = await _machine(api)
    await api.post(f"/api/v1/machines/{machine['id']}/drain")
    await api.delete(f"/api/v1/machines/{machine['id']}")
    rows = await db.fetch(
        "select action, actor from audit_log where subject = $1 order by id", f"machine:{machine['id']}"
    )
    assert [row["action"] for row in rows] == ["machine.register", "machine.drain", "machine.delete"]
    assert all(row["actor"].startswith("key:") for row in rows)
