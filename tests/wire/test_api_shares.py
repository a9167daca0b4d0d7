"""Links to deployments, used by members, guests and strangers, against a real server that lets guests in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.wire.conftest import Orchestrator, start_orchestrator
from tests.wire.strangers import stranger_of

pytestmark = pytest.mark.anyio

RUNS = 3
GRAPH: dict[str, Any] = {
    "1": {"class_type": "ComfyUIDeployExternalText", "inputs": {"input_id": "words", "display_name": "Words"}},
    "2": {"class_type": "ComfyUIDeployExternalImage", "inputs": {"input_id": "photo"}},
    "3": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Orchestrator]:
    """An orchestrator where every address may start three runs an hour through public links."""
    folder = tmp_path_factory.mktemp("sharing")
    running = start_orchestrator(folder, module_database_url, public_share_runs=str(RUNS))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def stranger(orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of another organisation's owner."""
    async with stranger_of(orchestrator) as client:
        yield client


async def _share(api: httpx.AsyncClient, environment: str, **more: Any) -> dict[str, Any]:
    workflow = (await api.post("/api/v1/workflows", json={"name": "Say it", "api_graph": GRAPH})).json()
    body = {"version_id": workflow["version"]["id"], "environment": environment}
    deployment = (await api.post("/api/v1/deployments", json=body)).json()
    made = await api.post("/api/v1/shares", json={"deployment_id": deployment["id"], **more})
    assert made.status_code == 201, made.text
    return made.json()


async def test_a_private_link_is_for_the_team(api, nobody, stranger, orchestrator):
    """A member with the least role runs it; others are told to log in, or that there is nothing."""
    share = await _share(api, "private-share", description="for us")
    path = f"/api/v1/shares/{share['slug']}"
    assert share["url"] == orchestrator.url + path
    key = (await api.post("/api/v1/api-keys", json={"name": "player", "role": "playground"})).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers, timeout=20) as player:
        page = (await player.get(path)).json()
        assert (page["title"], page["description"], page["visibility"]) == ("Say it", "for us", "private")
        assert page["inputs"]["properties"]["words"]["title"] == "Words"
        assert "PreviewAny" not in str(page)
        started = await player.post(f"{path}/runs", json={"inputs": {"words": "hello"}})
        assert started.status_code == 202
        told = started.json()
        run = await player.get(told["url"], headers={"Share-Token": told["token"]})
        assert run.json() == {"id": told["id"], "status": "not-started", "created_at": run.json()["created_at"]}
        assert (await player.get("/api/v1/shares")).status_code == 403
        assert (await player.delete(path)).status_code == 403
    answers = [await nobody.get(path), await nobody.post(f"{path}/runs", json={})]
    assert [answer.status_code for answer in answers] == [401, 401]
    answers = [await stranger.get(path), await stranger.post(f"{path}/runs", json={}), await stranger.delete(path)]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    no_link = await nobody.get(f"/api/v1/shares/{uuid4().hex}")
    assert (no_link.status_code, no_link.json()["code"]) == (401, "unauthorized"), "as if it were private"


async def test_a_public_link_lets_anyone_run_so_often(api, nobody, stranger):
    """By address, without a login; no stored files, and only the token's holder sees the run."""
    share = await _share(api, "public-share", title="Try it", slug=f"try-{uuid4()}")
    path = f"/api/v1/shares/{share['slug']}"
    assert (await nobody.get(path)).json()["title"] == "Try it"
    assert (await stranger.get(path)).status_code == 200
    upload = await api.post("/api/v1/files", files={"file": ("a.png", b"content", "image/png")})
    file = {"photo": {"file_id": upload.json()["id"]}}
    statuses = []
    refused = await nobody.post(f"{path}/runs", json={"inputs": file})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "inputs.photo")
    first = (await nobody.post(f"{path}/runs", json={"inputs": {"words": "x"}})).json()
    statuses = [(await nobody.post(f"{path}/runs", json={})).status_code for _ in range(RUNS)]
    assert statuses == [202, 429, 429], "the refused one was counted as well"
    limited = await nobody.post(f"{path}/runs", json={})
    assert int(limited.headers["retry-after"]) > 60
    member = await api.post(f"{path}/runs", json={"inputs": file})
    assert member.status_code == 202, "members are not counted, and name their files"
    seen = await nobody.get(first["url"], headers={"Share-Token": first["token"]})
    assert (seen.status_code, seen.json()["id"]) == (200, first["id"])
    others = [
        await nobody.get(first["url"], headers={"Share-Token": member.json()["token"]}),
        await nobody.get(member.json()["url"], headers={"Share-Token": first["token"]}),
        await nobody.get(first["url"], headers={"Share-Token": "x"}),
    ]
    assert [answer.status_code for answer in others] == [404, 404, 404]
    assert (await nobody.get(first["url"])).status_code == 422
    run = (await api.get(f"/api/v1/runs/{first['id']}")).json()
    assert run["deployment_id"] == share["deployment_id"]
    assert (await nobody.get(f"/api/v1/runs/{first['id']}")).status_code == 401


async def test_a_link_is_revoked_for_good(api):
    """It leads nowhere at once, its slug is not used again, and neither does one whose deployment is gone."""
    share = await _share(api, "private-share")
    path = f"/api/v1/shares/{share['slug']}"
    assert share["slug"] in [one["slug"] for one in (await api.get("/api/v1/shares")).json()["items"]]
    assert (await api.delete(path)).status_code == 204
    assert (await api.delete(path)).status_code == 404
    gone = [await api.get(path), await api.post(f"{path}/runs", json={})]
    assert [answer.status_code for answer in gone] == [404, 404]
    assert share["slug"] not in [one["slug"] for one in (await api.get("/api/v1/shares")).json()["items"]]
    body = {"deployment_id": share["deployment_id"], "slug": share["slug"]}
    again = await api.post("/api/v1/shares", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "slug_taken")
    other = (await api.post("/api/v1/shares", json={"deployment_id": share["deployment_id"]})).json()
    await api.delete(f"/api/v1/deployments/{share['deployment_id']}")
    assert (await api.get(f"/api/v1/shares/{other['slug']}")).status_code == 404


async def test_only_deployments_for_sharing_are_shared(api, stranger):
    """Production is not, what is not there is not, and another organisation's is not there."""
    workflow = (await api.post("/api/v1/workflows", json={"name": "w", "api_graph": GRAPH})).json()
    deployment = (await api.post("/api/v1/deployments", json={"version_id": workflow["version"]["id"]})).json()
    refused = await api.post("/api/v1/shares", json={"deployment_id": deployment["id"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "not_for_sharing")
    for missing in (str(uuid4()), "nonsense"):
        answer = await api.post("/api/v1/shares", json={"deployment_id": missing})
        assert (answer.status_code, answer.json()["code"]) == (422, "deployment_not_found")
    share = await _share(api, "public-share")
    theirs = await stranger.post("/api/v1/shares", json={"deployment_id": share["deployment_id"]})
    assert (theirs.status_code, theirs.json()["code"]) == (422, "deployment_not_found")
    assert (await stranger.get("/api/v1/shares")).json()["items"] == []
    for slug in ("short", "UPPER-CASE", "-dash-first", "a" * 70):
        body = {"deployment_id": share["deployment_id"], "slug": slug}
        assert (await api.post("/api/v1/shares", json=body)).status_code == 422


async def test_a_key_is_held_to_its_scopes_here_too(api, orchestrator):
    """A key of the team without runs:write looks at the page and starts nothing."""
    share = await _share(api, "private-share")
    path = f"/api/v1/shares/{share['slug']}"
    body = {"name": "reader", "role": "developer", "scopes": ["shares:read"]}
    key = (await api.post("/api/v1/api-keys", json=body)).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers, timeout=20) as reader:
        assert (await reader.get(path)).status_code == 200
        refused = await reader.post(f"{path}/runs", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
