"""What a client gives a run to find it by: kept from the start, told with the run, and filtered by."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any
from uuid import uuid4

import httpx
import pytest

from client import Fleet
from tests.system import coloured
from tests.wire.conftest import Orchestrator
from tests.wire.strangers import stranger_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def version(api: httpx.AsyncClient) -> str:
    """A version to run."""
    workflow = await api.post("/api/v1/workflows", json={"name": "x", "api_graph": coloured()})
    return workflow.json()["version"]["id"]


async def _start(api: httpx.AsyncClient, version: str, **more: Any) -> dict[str, Any]:
    """A new run, as it is shown."""
    answer = await api.post("/api/v1/runs", json={"version_id": version, **more})
    assert answer.status_code == 202, answer.text
    return (await api.get(answer.headers["location"])).json()


async def _found(api: httpx.AsyncClient, *wanted: str, **more: str) -> list[str]:
    answer = await api.get("/api/v1/runs", params={"metadata": wanted, "limit": 100, **more})
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.json()["items"]]


async def test_a_run_keeps_what_it_was_given(api: httpx.AsyncClient, version: str) -> None:
    """Metadata and tags stand in the run; tags may be changed, once each, and the metadata stays as it was."""
    run = await _start(api, version, metadata={"team": "red", "a.b-c_1": "☃ \n"}, tags=["late", "late", "new"])
    assert (run["metadata"], run["tags"]) == ({"team": "red", "a.b-c_1": "☃ \n"}, ["late", "new"])
    changed = (await api.patch(f"/api/v1/runs/{run['id']}", json={"tags": ["old"]})).json()
    assert (changed["metadata"], changed["tags"]) == (run["metadata"], ["old"])
    bare = await _start(api, version, tags=[], metadata={})
    assert "metadata" not in bare
    assert "tags" not in bare


async def test_runs_are_found_by_it(api: httpx.AsyncClient, version: str, orchestrator: Orchestrator) -> None:
    """By one value, by several, with other filters beside, and never another organisation's."""
    job = uuid4().hex
    red = await _start(api, version, metadata={"job": job, "team": "red"}, tags=["tagged at once"])
    blue = await _start(api, version, metadata={"job": job, "team": "blue=green"})
    assert await _found(api, f"job={job}") == [blue["id"], red["id"]]
    assert await _found(api, f"job={job}", "team=red") == [red["id"]]
    assert await _found(api, f"job={job}", "team=blue=green") == [blue["id"]]
    assert await _found(api, f"job={job}", tag="tagged at once") == [red["id"]]
    assert await _found(api, f"job={job}", "team=") == []
    async with stranger_of(orchestrator) as stranger:
        assert await _found(stranger, f"job={job}") == []


async def test_batches_and_retries_carry_it(api: httpx.AsyncClient, version: str) -> None:
    """Each run of a batch has it, and a run that is started once more has its predecessor's, not the tags."""
    job = uuid4().hex
    body = {"version_id": version, "inputs": [{}, {}], "metadata": {"job": job}, "tags": ["both"]}
    batch = (await api.post("/api/v1/runs/batch", json=body)).json()
    assert sorted(await _found(api, f"job={job}", tag="both")) == sorted(batch["run_ids"])
    await api.post(f"/api/v1/runs/{batch['run_ids'][0]}/cancel")
    again = (await api.post(f"/api/v1/runs/{batch['run_ids'][0]}/retry")).json()
    run = (await api.get(f"/api/v1/runs/{again['id']}")).json()
    assert (run["metadata"], run.get("tags")) == ({"job": job}, None)


async def test_a_repeated_request_gives_the_same_run(api: httpx.AsyncClient, version: str) -> None:
    """Metadata is of the request: the same again is the same run, other metadata under the same key is refused."""
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"version_id": version, "metadata": {"a": "1"}, "tags": ["t"]}
    first = await api.post("/api/v1/runs", json=body, headers=headers)
    assert (await api.post("/api/v1/runs", json=body, headers=headers)).json() == first.json()
    other = await api.post("/api/v1/runs", json={**body, "metadata": {"a": "2"}}, headers=headers)
    assert other.status_code == 422


async def test_a_job_of_comfy_s_api_v2_has_it_too(api: httpx.AsyncClient) -> None:
    """What a job's client gave as metadata finds its run, as any other's."""
    job = uuid4().hex
    body = {"workflow": {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}}, "metadata": {"job": job}}
    made = await api.post("/api/v2/jobs", json=body)
    assert made.status_code == 201, made.text
    assert len(await _found(api, f"job={job}")) == 1


async def test_the_sdk_gives_and_reads_it(orchestrator: Orchestrator, version: str) -> None:
    """Fleet.runs.create takes it, and a run tells it."""
    async with Fleet(orchestrator.url, orchestrator.api_key) as fleet:
        metadata = {"by": "sdk", "job": uuid4().hex}
        accepted = await fleet.runs.create(version_id=version, metadata=metadata, tags=["mine"])
        run = await fleet.runs.get(accepted.id)
        assert (run.metadata, run.tags) == (metadata, ["mine"])
        assert [one.id for one in (await fleet.runs.list(metadata=metadata)).items] == [run.id]
        assert (await fleet.runs.list(metadata={**metadata, "by": "hand"})).items == []


async def test_the_command_line_finds_by_it(api: httpx.AsyncClient, version: str, orchestrator: Orchestrator) -> None:
    """`run -m` gives it, `runs ls -m` finds by it."""
    deployment = (await api.post("/api/v1/deployments", json={"version_id": version})).json()["id"]
    job = f"job={uuid4().hex}"

    async def comfyfleet(*words: str) -> str:
        command = [sys.executable, "-m", "client", "--url", orchestrator.url, "--api-key", orchestrator.api_key]
        process = await asyncio.create_subprocess_exec(*command, *words, stdout=subprocess.PIPE)
        told, _ = await process.communicate()
        assert process.returncode == 0, told
        return told.decode()

    run = (await comfyfleet("run", deployment, "-m", job)).strip()
    assert [one["id"] for one in json.loads(await comfyfleet("runs", "ls", "-m", job, "--json"))] == [run]
    assert json.loads(await comfyfleet("runs", "ls", "-m", job, "-m", "a=b", "--json")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"metadata": {"a b": "1"}},
        {"metadata": {"": "1"}},
        {"metadata": {"x" * 65: "1"}},
        {"metadata": {"a": "x" * 501}},
        {"metadata": {"a": 1}},
        {"metadata": {"a": "\0"}},
        {"metadata": {str(number): "x" for number in range(17)}},
        {"metadata": []},
        {"tags": ["x" * 51]},
        {"tags": [""]},
        {"tags": ["x"] * 21},
    ],
)
async def test_what_is_given_has_limits(api: httpx.AsyncClient, version: str, wrong: dict[str, Any]) -> None:
    """Names, values and numbers are bounded."""
    answer = await api.post("/api/v1/runs", json={"version_id": version, **wrong})
    assert answer.status_code in (400, 422), answer.text


async def test_usage_is_told_by_names_that_are_counted(api: httpx.AsyncClient, version: str) -> None:
    """A run that ended is in its value's sum; another name, or a key beside it, is refused and the field named."""
    team = uuid4().hex
    run = await _start(api, version, metadata={"team": team})
    await api.post(f"/api/v1/runs/{run['id']}/cancel")
    told = (await api.get("/api/v1/usage", params={"metadata": "team"})).json()
    assert [(one["runs"], one["succeeded"]) for one in told["items"] if one["name"] == team] == [(1, 0)]
    for wrong in ({"metadata": "job"}, {"metadata": ""}, {"metadata": "team", "api_key_id": str(uuid4())}):
        refused = await api.get("/api/v1/usage", params=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "metadata"), refused.text


@pytest.mark.parametrize("wanted", ["", "name", "=value", "a b=c", "a=\0"])
async def test_a_filter_looks_like_name_and_value(api: httpx.AsyncClient, wanted: str) -> None:
    """Anything else is refused, and the field is named."""
    answer = await api.get("/api/v1/runs", params={"metadata": wanted})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "metadata"), answer.text
