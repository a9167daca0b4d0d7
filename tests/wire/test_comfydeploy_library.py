"""ComfyDeploy's API: copies, exports, shares, files, webhooks that ask for progress; what is refused with a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from comfydeploy.models import components

from drivers.wire import Drain, Inventory, Progress
from orchestrator.dialects.comfydeploy.absent import ABSENT
from tests.system import coloured
from tests.wire.fake_agent import FakeAgent, connected, register
from tests.wire.strangers import stranger_of
from tests.wire.webhook_receiver import Receiver, receiving

pytestmark = pytest.mark.anyio
UI = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}


@pytest.fixture
async def cd(orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of /api with the administrator's key."""
    url = f"{orchestrator.url}/api"
    async with httpx.AsyncClient(base_url=url, headers=orchestrator.headers, timeout=20) as client:
        yield client


async def _uploaded(cd: httpx.AsyncClient, name: str) -> dict[str, Any]:
    body = {"workflow_name": name, "workflow": UI, "workflow_api": coloured(), "snapshot": {"comfyui": "abc"}}
    made = (await cd.post("/workflow", json=body)).json()
    return (await cd.get(f"/workflow/{made['workflow_id']}")).json()


async def test_workflows_are_copied_and_exported(cd, orchestrator):
    """A copy begins anew with the newest version; an export has all that was uploaded; neither is another team's."""
    old = await _uploaded(cd, "an old / one")
    copy = (await cd.post(f"/workflow/{old['id']}/clone")).json()
    named = (await cd.post(f"/workflow/{old['id']}/clone", json={"name": "another"})).json()
    assert (copy["name"], copy["latest_version"], named["name"]) == ("an old / one (copy)", 1, "another")
    assert copy["id"] not in (old["id"], named["id"])
    assert (await cd.post(f"/workflow/{old['id']}/clone", json={"name": ""})).status_code == 422
    exported = await cd.get(f"/workflow/{copy['id']}/export")
    whole = exported.json()
    assert (whole["workflow"], whole["workflow_api"], whole["snapshot"]) == (UI, coloured(), {"comfyui": "abc"})
    assert exported.headers["content-disposition"] == 'attachment; filename="an-old-one-copy.json"'
    async with stranger_of(orchestrator) as stranger:
        assert (await stranger.post(f"/api/workflow/{old['id']}/clone")).status_code == 404
        assert (await stranger.get(f"/api/workflow/{old['id']}/export")).status_code == 404


async def test_the_newest_comfyui_of_the_machines_is_told(cd, api, orchestrator):
    """Of those that are connected, by its numbers."""
    assert (await cd.get("/latest-hashes")).json() == {"comfyui_hash": None, "comfyui_version": None}
    old, new = [Inventory(versions={"comfyui": version}) for version in ("0.3.9", "0.3.64")]
    async with (
        connected(orchestrator.url, await register(api), old) as first,
        connected(orchestrator.url, await register(api), new) as second,
    ):
        await first.has(Drain)
        await second.has(Drain)
        assert (await cd.get("/latest-hashes")).json()["comfyui_version"] == "0.3.64"


async def test_a_deployment_for_sharing_has_a_link(cd, nobody, orchestrator):
    """One, whatever is deployed there next; a private one is the team's. Nobody sees a graph by it."""
    workflow = await _uploaded(cd, "shared")
    slugs = {}
    for environment in ("public-share", "private-share", "public-share"):
        body = {"workflow_version_id": workflow["versions"][0]["id"], "environment": environment}
        slug = (await cd.post("/deployment", json=body)).json()["share_slug"]
        assert slugs.setdefault(environment, slug) == slug
    public = f"/api/share/whoever/{slugs['public-share']}"
    page = (await cd.get(public.removeprefix("/api"))).json()
    assert (page["name"], page["environment"]) == ("shared", "public-share")
    assert "workflow_api" not in page
    assert [one["input_id"] for one in page["input_types"]] == ["colour"]
    private = f"/api/share/whoever/{slugs['private-share']}"
    for place in (public, private):  # guests are let in by FLEET_PUBLIC_SHARE_RUNS only
        assert (await nobody.get(place)).status_code == 401
    assert (await cd.get(private.removeprefix("/api"))).status_code == 200
    async with stranger_of(orchestrator) as stranger:
        assert (await stranger.get(private)).status_code == 404
    plain = {"workflow_version_id": workflow["versions"][0]["id"], "environment": "staging"}
    assert (await cd.post("/deployment", json=plain)).json()["share_slug"] is None


async def test_the_teams_files_are_assets(cd, orchestrator):
    """Listed by a part of their name, shown, deleted once; another team has none of them."""
    name = f"{uuid4()}.png"
    made = (await cd.post("/file/upload", files={"file": (name, b"png", "image/png")})).json()
    (listed,) = (await cd.get("/assets", params={"search": name[:20]})).json()
    assert (listed["id"], listed["mime_type"], listed["file_size"]) == (made["file_id"], "image/png", 3)
    assert (await cd.get(f"/assets?before={made['file_id']}&search={name}")).json() == []
    place = f"/assets/{made['file_id']}"
    assert (await cd.get(place)).json() == listed
    async with stranger_of(orchestrator) as stranger:
        assert (await stranger.get(f"/api{place}")).status_code == 404
        assert (await stranger.delete(f"/api{place}")).status_code == 404
    assert (await cd.delete(place)).status_code == 200
    assert (await cd.delete(place)).status_code == 404


async def test_what_is_not_here_says_what_is(cd, nobody):
    """Each refused route answers 501 in ComfyDeploy's words, and only to who is known."""
    for path, verbs, instead in ABSENT:
        place = path
        for name, value in {":uuid": str(uuid4()), ":str": "x", ":path": "x/y"}.items():
            while name + "}" in place:
                before, _, after = place.partition(name + "}")
                place = before.rpartition("{")[0] + value + after
        for verb in verbs:
            answer = await cd.request(verb.upper(), place)
            assert (answer.status_code, answer.json()["code"]) == (501, "not_here"), place
            assert instead in answer.json()["detail"]
    assert (await nobody.get("/api/sessions")).status_code == 401


async def _started(api: httpx.AsyncClient, agent: FakeAgent, node: str, receiver: Receiver, **more: Any) -> Any:
    """A run of the machine's, which works on it."""
    body = {"workflow_api_json": {"1": {"class_type": node, "inputs": {}}}, "webhook": f"{receiver.url}/ok", **more}
    queued = await api.post("/api/run/workflow/queue", json=body)
    assert queued.status_code == 200, queued.text
    async with asyncio.timeout(20):
        while True:
            job = await agent.job()
            if job.run_id == queued.json()["run_id"]:
                break
            await asyncio.sleep(0.02)
    await agent.report(job, "started", "running")
    return job


async def test_progress_is_told_to_who_asks_for_it(api, orchestrator):
    """Signed, in the published client's form, the newest before the end; one that asked not hears statuses only."""
    node = f"Node{uuid4().hex}"
    secret = (await api.get("/api/v1/webhooks/run-url-secret")).json()["secret"]
    async with (
        receiving() as curious,
        receiving() as other,
        connected(orchestrator.url, await register(api), Inventory(node_classes=[node])) as agent,
    ):
        curious.secret = other.secret = secret
        plain = await _started(api, agent, node, other)
        await agent.send(Progress(plain.run_id, plain.attempt_id, 0.5, "1", node, "half"))
        await agent.report(plain, "success", after=2)
        job = await _started(api, agent, node, curious, webhook_intermediate_status=True)
        for value in (0.25, 0.75):
            await agent.send(Progress(job.run_id, job.attempt_id, value, "1", node, f"Executing {node}"))
        told = await curious.heard(lambda message: message["progress"] == 0.75)
        parsed = components.WorkflowRunWebhookBody.model_validate(told)
        assert (parsed.status, parsed.live_status, parsed.progress) == ("running", f"Executing {node}", 0.75)
        await agent.report(job, "success", after=2)
        await curious.heard(lambda message: message["status"] == "success")
        await other.heard(lambda message: message["status"] == "success")
    assert not any(message["progress"] == 0.5 for _, _, message in other.seen)
