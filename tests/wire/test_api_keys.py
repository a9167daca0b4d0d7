"""API keys with scopes, bound to deployments, rotated, and never stronger than their maker, against the real server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from tests.system import coloured

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def deployments(orchestrator) -> list[str]:
    """Two deployments that take a colour."""
    made = []
    with httpx.Client(base_url=orchestrator.url, headers=orchestrator.headers, timeout=20) as client:
        for _ in range(2):
            workflow = client.post("/api/v1/workflows", json={"name": "colour", "api_graph": coloured()}).json()
            body = {"version_id": workflow["version"]["id"]}
            made.append(client.post("/api/v1/deployments", json=body).json()["id"])
    return made


@asynccontextmanager
async def _with(orchestrator: Any, key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{orchestrator.url}/api/v1", headers=headers, timeout=20) as client:
        yield client


async def _key(client: httpx.AsyncClient, status: int = 201, **body: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/api-keys", json={"name": "key", **body})
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_key_does_what_its_scopes_say_and_no_more(api, orchestrator):
    """Reading workflows is given, writing them and reading machines are not."""
    made = await _key(api, scopes=["workflows:read"])
    async with _with(orchestrator, made["key"]) as client:
        assert (await client.get("/workflows")).status_code == 200
        for answer in (await client.post("/workflows", json={"name": "x"}), await client.get("/machines")):
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    listed = (await api.get("/api/v1/api-keys")).json()["items"]
    assert next(item for item in listed if item["id"] == made["id"])["scopes"] == ["workflows:read"]


async def test_a_narrow_key_makes_no_wider_one(api, orchestrator):
    """Left out, the scopes are the maker's; beyond them is refused, and so is rotating a wider key."""
    wide = await _key(api, role="playground")
    maker = await _key(api, role="developer", scopes=["keys:write", "keys:read", "runs:read"])
    async with _with(orchestrator, maker["key"]) as client:
        inherited = await client.post("/api-keys", json={"name": "same"})
        narrower = await client.post("/api-keys", json={"name": "less", "scopes": ["runs:read"]})
        wider = await client.post("/api-keys", json={"name": "more", "scopes": ["runs:write"]})
        stolen = await client.post(f"/api-keys/{wide['id']}/rotate", json={})
    assert inherited.json()["scopes"] == ["keys:read", "keys:write", "runs:read"]
    assert narrower.json()["scopes"] == ["runs:read"]
    for refused in (wider, stolen):
        assert (refused.status_code, refused.json()["code"]) == (403, "key_exceeds_maker")


@pytest.mark.parametrize(
    "body", [{"scopes": []}, {"scopes": ["runs"]}, {"scopes": ["pets:read"]}, {"deployment_ids": ["x"]}]
)
async def test_limits_that_mean_nothing_are_refused(api, body):
    """No scope at all, one that is none, and an id that is none."""
    answer = await api.post("/api/v1/api-keys", json={"name": "bad", **body})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"].startswith(next(iter(body)))


async def test_a_bound_key_sees_its_deployments_runs_only(api, orchestrator, deployments):
    """It starts and reads runs of the one, and finds neither the other deployment nor its runs, nor anything else."""
    mine, other = deployments
    started = await api.post("/api/v1/runs", json={"deployment_id": other, "inputs": {"colour": 1}})
    foreign_run = started.json()["id"]
    made = await _key(api, deployment_ids=[mine])
    assert made["deployment_ids"] == [mine]
    async with _with(orchestrator, made["key"]) as client:
        run = await client.post("/runs", json={"deployment_id": mine, "inputs": {"colour": 1}})
        assert run.status_code == 202
        assert (await client.get(f"/runs/{run.json()['id']}")).status_code == 200
        assert (await client.post(f"/runs/{run.json()['id']}/cancel")).status_code == 200
        hidden = [
            await client.post("/runs", json={"deployment_id": other, "inputs": {"colour": 1}}),
            await client.get(f"/runs/{foreign_run}"),
            await client.get(f"/runs/{foreign_run}/outputs"),
            await client.get(f"/runs/{foreign_run}/events"),
            await client.post(f"/runs/{foreign_run}/cancel"),
        ]
        closed = [
            await client.post("/runs", json={"version_id": str(uuid.uuid4())}),
            await client.get("/workflows"),
            await client.get("/machines"),
            await client.post("/api-keys", json={"name": "free"}),
        ]
        listed = (await client.get("/runs", params={"limit": 100})).json()["items"]
        narrowed = (await client.get("/runs", params={"deployment_id": other})).json()["items"]
    assert [one["id"] for one in listed] == [run.json()["id"]]
    assert narrowed == []
    assert [answer.status_code for answer in hidden] == [404] * len(hidden)
    assert [(answer.status_code, answer.json()["code"]) for answer in closed] == [(403, "key_bound")] * len(closed)


async def test_comfydeploys_lists_show_a_bound_key_its_runs_only(api, orchestrator, deployments):
    """Of a workflow, of either deployment, the latest, and how many: never the other deployment's."""
    mine, other = deployments
    runs = []
    for deployment in (mine, other):
        body = {"deployment_id": deployment, "inputs": {"colour": 1}}
        started = (await api.post("/api/v1/runs", json=body)).json()
        runs.append((await api.get(f"/api/v1/runs/{started['id']}")).json())
    made = await _key(api, role="viewer", deployment_ids=[mine])
    path, foreign = (f"/api/workflow/{run['workflow_id']}" for run in runs)
    between = {"start_time": "2020-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}

    async def of(client: httpx.AsyncClient, path: str) -> list[str]:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()]

    headers = {"Authorization": f"Bearer {made['key']}"}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers, trust_env=False) as client:
        assert (await of(client, f"{path}/runs"))[0] == runs[0]["id"]
        assert (await of(client, f"/api/deployment/{mine}/runs"))[0] == runs[0]["id"]
        assert (await client.get(f"{path}/run/latest")).json()["id"] == runs[0]["id"]
        assert await of(client, f"{foreign}/runs") == await of(client, f"/api/deployment/{other}/runs") == []
        assert (await client.get(f"{foreign}/run/latest")).status_code == 404
        counted = [
            (await client.get("/api/runs/count", params={**between, **more})).json()["count"]
            for more in ({"deployment_id": mine}, {"deployment_id": other}, {})
        ]
        assert counted == [counted[0], 0, counted[0]]
        assert counted[0] > 0


async def test_a_bound_key_pages_through_its_own_runs_and_batches(api, orchestrator, deployments):
    """Each page is full, though the other deployment's runs lie between; a batch of the other is not listed."""
    mine, other = deployments
    made = await _key(api, role="viewer", deployment_ids=[mine])
    started = []
    for _ in range(3):
        for deployment in (mine, other):
            body = {"deployment_id": deployment, "inputs": {"colour": 1}}
            started.append((deployment, (await api.post("/api/v1/runs", json=body)).json()["id"]))
    batches = [
        (await api.post("/api/v1/runs/batch", json={"deployment_id": one, "inputs": [{"colour": 1}]})).json()["id"]
        for one in deployments
    ]
    async with _with(orchestrator, made["key"]) as client:
        seen, query = [], {"limit": 2}
        while True:
            page = (await client.get("/runs", params=query)).json()
            seen += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == 2
            query["cursor"] = page["next_cursor"]
        shown = [one["id"] for one in (await client.get("/runs/batches", params={"limit": 100})).json()["items"]]
    ours = [run for deployment, run in started if deployment == mine]
    assert set(ours) < set(seen)
    assert not {run for deployment, run in started if deployment == other} & set(seen)
    assert batches[0] in shown
    assert batches[1] not in shown


async def test_a_key_is_bound_to_deployments_that_are_there(api):
    """An id that the organisation does not have is named."""
    answer = await _key(api, 422, deployment_ids=[str(uuid.uuid4())])
    assert answer["code"] == "deployment_not_found"


async def test_rotating_exchanges_the_secret_and_honours_the_grace(api, orchestrator):
    """Without grace the old key ends at once; with grace both work until it is over. Id and limits stay."""
    made = await _key(api, role="viewer", scopes=["machines:read"])
    path = f"/api/v1/api-keys/{made['id']}/rotate"
    second = (await api.post(path, json={})).json()
    third = (await api.post(path, json={"grace_s": 600})).json()
    assert second["id"] == third["id"] == made["id"]
    assert second["scopes"] == third["scopes"] == ["machines:read"]
    assert "previous_until" in third
    assert "previous_until" not in second
    assert await _works(orchestrator, made["key"], second["key"], third["key"]) == [401, 200, 200]
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        await connection.execute("update api_keys set previous_until = now() where id = $1", uuid.UUID(made["id"]))
    finally:
        await connection.close()
    fourth = (await api.post(path, json={})).json()
    assert await _works(orchestrator, second["key"], third["key"], fourth["key"]) == [401, 401, 200]


async def _works(orchestrator: Any, *keys: str) -> list[int]:
    statuses = []
    for key in keys:
        async with _with(orchestrator, key) as client:
            statuses.append((await client.get("/machines")).status_code)
    return statuses


async def test_a_revoked_key_is_not_rotated(api):
    """409; and an unknown one is 404."""
    made = await _key(api)
    await api.delete(f"/api/v1/api-keys/{made['id']}")
    refused = await api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "api_key_ended")
    assert (await api.post(f"/api/v1/api-keys/{uuid.uuid4()}/rotate", json={})).status_code == 404
