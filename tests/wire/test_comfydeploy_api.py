"""ComfyDeploy's API without a machine: what its plugin and dashboards upload, list and log in by, and whose it is."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import jwt
import pytest

from tests.system import coloured, node
from tests.wire.conftest import ROOT
from tests.wire.strangers import client_with, stranger_of

pytestmark = pytest.mark.anyio

UI = {"nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
async def cd(orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of /api with the administrator's key."""
    async with httpx.AsyncClient(
        base_url=f"{orchestrator.url}/api", headers=orchestrator.headers, timeout=20
    ) as client:
        yield client


async def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, f"{answer.request.url}: {answer.status_code} {answer.text}"
    return answer.json()


async def uploaded(cd: httpx.AsyncClient, name: str = "a workflow") -> dict[str, Any]:
    """A workflow with one version, as the first generation uploads it."""
    snapshot = {"comfyui": "abc", "git_custom_nodes": {}, "file_custom_nodes": []}
    body = {"workflow_name": name, "workflow": UI, "workflow_api": coloured(), "snapshot": snapshot}
    return await ok(await cd.post("/workflow", json=body))


async def test_both_generations_upload_workflows(cd):
    """The first sends graphs and `workflow_name`, then `workflow_id`; the second `name` and graphs as JSON text."""
    first = await uploaded(cd)
    assert first["version"] == 1
    again = {"workflow_id": first["workflow_id"], "workflow": UI, "workflow_api": coloured(), "snapshot": {}}
    assert (await ok(await cd.post("/upload", json=again)))["version"] == 2
    body = {"name": "second", "workflow_json": json.dumps(UI), "workflow_api": json.dumps(coloured())}
    second = await ok(await cd.post("/workflow", json=body))
    shown = await ok(await cd.get(f"/workflow/{second['workflow_id']}"))
    assert shown["name"] == "second"
    assert shown["versions"][0]["workflow"] == UI
    body = {"workflow": UI, "workflow_api": coloured(), "comment": "better"}
    version = await ok(await cd.post(f"/workflow/{second['workflow_id']}/version", json=body))
    assert (version["version"], version["comment"]) == (2, "better")
    listed = await ok(await cd.get(f"/workflow/{second['workflow_id']}/versions"))
    assert [one["version"] for one in listed] == [2, 1]
    one = await ok(await cd.get(f"/workflow/{second['workflow_id']}/version/2"))
    loaded = await ok(await cd.get(f"/workflow-version/{version['id']}"))
    assert one == loaded
    assert loaded["workflow_api"] == coloured()
    assert second["workflow_id"] in [row["id"] for row in await ok(await cd.get("/workflows?search=SECOND"))]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 422, "missing either workflow_id or name"),
        ({"name": "x", "workflow_json": "{", "workflow_api": "{}"}, 400, "Invalid JSON format"),
        ({"workflow_name": "x", "workflow": {"nodes": []}}, 422, "no node"),
        ({"workflow_name": "x", "workflow_api": "[]"}, 422, "API format"),
        ({"workflow_name": "x", "workflow_api": {"1": node("A", image=["9", 0])}}, 422, "9"),
        ({"workflow_id": str(uuid4()), "workflow_api": coloured()}, 404, "there is no workflow"),
        ({"workflow_id": "text", "workflow_api": coloured()}, 404, "there is no workflow"),
    ],
)
async def test_uploads_that_are_refused(cd, body, status, told):
    """Each says what is wrong, in the shape that ComfyDeploy's clients read."""
    answer = await cd.post("/workflow", json=body)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]
    assert isinstance(answer.json()["detail"], list if status == 422 else str)


async def test_deployments(cd):
    """Made, moved to another version, listed by environment and workflow; a run's inputs are told as input_types."""
    workflow = (await uploaded(cd))["workflow_id"]
    versions = await ok(await cd.get(f"/workflow/{workflow}/versions"))
    body = {"workflow_id": workflow, "workflow_version_id": versions[0]["id"], "environment": "staging"}
    made = await ok(await cd.post("/deployment", json=body))
    assert [one["input_id"] for one in made["input_types"]] == ["colour"]
    assert (await ok(await cd.get(f"/deployment/{made['id']}")))["environment"] == "staging"
    again = {"workflow_id": workflow, "workflow": UI, "workflow_api": coloured(32), "snapshot": {}}
    await ok(await cd.post("/workflow", json=again))
    newest = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    moved = await ok(await cd.patch(f"/deployment/{made['id']}", json={"workflow_version_id": newest}))
    assert moved["version"]["version"] == 2
    assert [row["id"] for row in await ok(await cd.get(f"/workflow/{workflow}/deployments"))] == [made["id"]]
    assert made["id"] in [row["id"] for row in await ok(await cd.get("/deployments?environment=staging"))]
    assert made["id"] not in [row["id"] for row in await ok(await cd.get("/deployments?environment=production"))]


async def test_machines(cd):
    """Registered by endpoint, listed, renamed and moved; a private address only where an administrator says so."""
    name = f"box {uuid4()}"
    body = {"name": name, "type": "classic", "endpoint": "http://127.0.0.1:9", "auth_token": ""}
    refused = await cd.post("/machine/custom", json=body)
    assert refused.status_code == 422
    made = await ok(await cd.post("/machine/custom", json={**body, "endpoint_private": True}))
    assert (made["status"], made["type"]) == ("not-started", "classic")
    assert name in [row["name"] for row in await ok(await cd.get("/machines", params={"search": "BOX"}))]
    assert name in [row["name"] for row in await ok(await cd.get("/machines/all"))]
    path = f"/machine/custom/{made['id']}"
    moved = await ok(await cd.patch(path, json={"name": name + "!", "endpoint": "http://127.0.0.1:10"}))
    assert (moved["name"], moved["endpoint"]) == (name + "!", "http://127.0.0.1:10")
    metadata = {"machine_id": made["id"], "endpoint": "http://169.254.169.254/"}
    assert (await cd.post("/machine-built", json=metadata)).status_code == 422
    built = {"machine_id": made["id"], "endpoint": "http://127.0.0.1:11", "build_log": "[]"}
    assert await ok(await cd.post("/machine-built", json=built)) == {"message": "success"}
    assert (await ok(await cd.get(f"/machine/{made['id']}")))["endpoint"] == "http://127.0.0.1:11"
    assert (await cd.post("/machine/custom", json={**body, "type": "modal-serverless"})).status_code == 422
    await ok(await cd.delete(f"/machine/{made['id']}"))
    assert (await cd.get(f"/machine/{made['id']}")).status_code == 404


async def test_nobody_moves_a_machine_by_its_id(cd, nobody, orchestrator):
    """machine-built, which was open to anybody, needs a key of the machine's team and a developer's role."""
    body = {"name": f"box {uuid4()}", "endpoint": "http://127.0.0.1:9", "endpoint_private": True}
    machine = await ok(await cd.post("/machine/custom", json=body))
    built = {"machine_id": machine["id"], "endpoint": "http://evil.example:8188"}
    assert (await nobody.post("/api/machine-built", json=built)).status_code == 401
    async with stranger_of(orchestrator) as stranger:
        assert (await stranger.post("/api/machine-built", json=built)).status_code == 404
        assert (await stranger.patch(f"/api/machine/custom/{machine['id']}", json={"name": "x"})).status_code == 404
        assert (await stranger.delete(f"/api/machine/{machine['id']}")).status_code == 404
    viewer = (await cd.post("/v1/api-keys", json={"name": "v", "role": "viewer"})).json()["key"]
    async with client_with(orchestrator, viewer) as client:
        assert (await client.post("/api/machine-built", json=built)).status_code == 403
    assert (await ok(await cd.get(f"/machine/{machine['id']}")))["endpoint"] == "http://127.0.0.1:9"


async def test_a_developer_allows_no_private_address(cd, orchestrator):
    """endpoint_private is an administrator's word, also when a machine is moved."""
    key = (await cd.post("/v1/api-keys", json={"name": "d", "role": "developer"})).json()["key"]
    async with client_with(orchestrator, key) as client:
        body = {"name": f"box {uuid4()}", "endpoint": "http://10.0.0.1:8188", "endpoint_private": True}
        assert (await client.post("/api/machine/custom", json=body)).status_code == 403
        made = await client.post(
            "/api/machine/custom", json={**body, "endpoint": "http://box.example:8188", "endpoint_private": False}
        )
        moved = await client.patch(
            f"/api/machine/custom/{made.json()['id']}", json={"endpoint": "http://10.0.0.1:8188"}
        )
        assert moved.status_code == 422


async def test_inputs_are_put_and_shown(cd, nobody):
    """An address to PUT to, signed for one file; /view leads to it, for the team only; a form works too."""
    granted = await ok(await cd.get("/upload-url", params={"type": "image/png", "file_size": "8"}))
    assert (await nobody.put(granted["upload_url"].replace("input.png", "input.svg"), content=PNG)).status_code == 403
    for _ in range(2):
        assert (await nobody.put(granted["upload_url"], content=PNG)).status_code == 200
    assert (await nobody.get(granted["download_url"])).status_code == 401
    shown = await cd.get(granted["download_url"])
    assert shown.status_code == 307
    assert (await nobody.get(shown.headers["location"])).content == PNG
    form = await ok(await cd.post("/file/upload", files={"file": ("../a.png", PNG, "image/png")}))
    assert form["file_name"] == "a.png"
    assert (await cd.get(form["file_url"])).status_code == 307
    for query in (
        {"type": "image/svg+xml", "file_size": 8},
        {"type": "image/png", "file_size": 0},
        {"type": "image/png"},
    ):
        assert (await cd.get("/upload-url", params=query)).status_code == 422
    assert (await cd.get("/upload-url", params={"type": "image/png", "file_size": 10**9})).status_code == 413
    assert (await cd.get("/view")).status_code == 422


async def test_an_uploaded_input_is_the_file_itself(cd):
    """A run that is given the address we made takes the file, not a URL to be fetched through the guard."""
    graph = {
        "1": node("ComfyUIDeployExternalImage", input_id="picture"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }
    body = {"workflow_name": "pictures", "workflow": UI, "workflow_api": graph, "snapshot": {}}
    workflow = (await ok(await cd.post("/workflow", json=body)))["workflow_id"]
    version = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    deployment = (await ok(await cd.post("/deployment", json={"workflow_version_id": version})))["id"]
    form = await ok(await cd.post("/file/upload", files={"file": ("a.png", PNG, "image/png")}))
    asked = {"deployment_id": deployment, "inputs": {"picture": form["file_url"]}}
    run_id = (await ok(await cd.post("/run", json=asked)))["run_id"]
    assert (await ok(await cd.get(f"/run/{run_id}")))["workflow_inputs"] == {"picture": {"file_id": form["file_id"]}}


async def test_keys_are_tokens_with_claims_and_can_be_revoked(cd, orchestrator):
    """A key is a JWT with user_id, org_id and iat; listed masked; stored as a hash; refused once revoked."""
    made = await ok(await cd.post("/platform/api-keys", json={"name": "sdk"}))
    claims = jwt.decode(made["key"], options={"verify_signature": False})
    assert {"user_id", "org_id", "iat"} <= set(claims)
    async with client_with(orchestrator, made["key"]) as client:
        assert (await client.get("/api/workflows")).status_code == 200
        assert (await client.post("/api/v1/members", json={})).status_code != 401
        connection = await asyncpg.connect(orchestrator.database_url)
        stored = await connection.fetchval("select string_agg(k::text, ' ') from api_keys k")
        await connection.close()
        assert made["key"] not in stored
        listed = {row["id"]: row for row in await ok(await cd.get("/platform/api-keys"))}
        assert made["key"] not in json.dumps(listed)
        await ok(await cd.delete(f"/platform/api-keys/{made['id']}"))
        assert (await client.get("/api/workflows")).status_code == 401
    forged = jwt.encode({"user_id": claims["user_id"], "org_id": claims["org_id"], "iat": 1}, "x" * 32)
    async with client_with(orchestrator, forged) as client:
        assert (await client.get("/api/workflows")).status_code == 401


@asynccontextmanager
async def _browser(orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is logged in at the dashboard."""
    form = {"email": orchestrator.email, "password": orchestrator.password}
    async with httpx.AsyncClient(base_url=orchestrator.url, timeout=20) as browser:
        assert (await browser.post("/login", data=form, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 303
        yield browser


@pytest.mark.parametrize("page", ["/auth-request/", "/auth/request/"])
async def test_the_plugin_logs_in(orchestrator, nobody, page):
    """Both generations: not ready, granted on a page, a key collected once, and never again."""
    request_id = str(uuid4())
    first, second = f"/api/auth-response/{request_id}", "/api/platform/comfyui/auth-response"
    waiting = await nobody.get(first)
    assert (waiting.status_code, waiting.json()) == (201, {"message": "Not ready yet."})
    assert (await nobody.get(second, params={"request_id": request_id})).status_code == 404
    door = await nobody.get(page + request_id)
    assert door.status_code == 303
    assert "next_page" in door.headers["location"]
    async with _browser(orchestrator) as browser:
        shown = await browser.get(page + request_id)
        assert shown.status_code == 200
        assert re.search(rf'action="{page}{request_id}"', shown.text)
        assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
        other = await browser.post(page + request_id, headers={"Sec-Fetch-Site": "cross-site"})
        assert other.status_code == 403
        assert (await nobody.get(first)).status_code == 201
        granted = await browser.post(page + request_id, headers={"Sec-Fetch-Site": "same-origin"})
        assert granted.status_code == 200
        assert (await browser.post(page + request_id, headers={"Sec-Fetch-Site": "same-origin"})).status_code == 410
    if page == "/auth-request/":
        answer = await nobody.get(first)
    else:
        answer = await nobody.get(second, params={"request_id": request_id})
    assert answer.status_code == 200
    assert answer.json()["name"]
    async with client_with(orchestrator, answer.json()["api_key"]) as plugin:
        assert (await plugin.get("/api/workflows")).status_code == 200
    claims = jwt.decode(answer.json()["api_key"], options={"verify_signature": False})
    assert 6 * 86400 < claims["exp"] - claims["iat"] <= 7 * 86400 + 1
    used = await nobody.get(first)
    assert (used.status_code, used.json()) == (201, {"message": "Already used."})
    assert (await nobody.get(second, params={"request_id": request_id})).status_code == 410


async def test_a_request_that_could_be_guessed_is_refused(orchestrator, nobody):
    """Whoever knows the id gets the key: short ids are none."""
    async with _browser(orchestrator) as browser:
        for short in ("1", "admin"):
            answer = await browser.post(f"/auth/request/{short}", headers={"Sec-Fetch-Site": "same-origin"})
            assert answer.status_code == 404
    assert (await nobody.get("/api/auth-response/1")).status_code == 404


async def test_an_api_key_grants_no_login(cd):
    """A stolen key cannot mint others by this way."""
    answer = await cd.post("/platform/comfyui/auth-request", json={"request_id": str(uuid4())})
    assert answer.status_code == 403


async def test_another_teams_things_are_not_there(cd, orchestrator):
    """Workflows, versions, deployments and runs of one team are 404 to another's owner, whatever route asks."""
    workflow = (await uploaded(cd))["workflow_id"]
    version = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    deployment = (await ok(await cd.post("/deployment", json={"workflow_version_id": version})))["id"]
    body = {"deployment_id": deployment, "inputs": {"colour": 1}}
    run_id = (await ok(await cd.post("/run", json=body)))["run_id"]
    form = await ok(await cd.post("/file/upload", files={"file": ("a.png", PNG, "image/png")}))
    async with stranger_of(orchestrator) as stranger:
        for path in (
            f"/workflow/{workflow}",
            f"/workflow/{workflow}/versions",
            f"/workflow/{workflow}/version/1",
            f"/workflow-version/{version}",
            f"/deployment/{deployment}",
            f"/run/{run_id}",
            f"/run?run_id={run_id}",
            f"/v2/stream-progress?run_id={run_id}",
            f"/v2/stream-logs?run_id={run_id}",
            f"/view?file={form['file_id']}",
        ):
            assert (await stranger.get(f"/api{path}")).status_code == 404, path
        for path, sent in (
            ("/run", body),
            ("/run/deployment/queue", body),
            (f"/run/{run_id}/cancel", None),
            ("/run/workflow/queue", {"workflow_version_id": version}),
            (f"/workflow/{workflow}/version", {"workflow_api": coloured()}),
            ("/workflow", {"workflow_id": workflow, "workflow_api": coloured()}),
            ("/deployment", {"workflow_version_id": version}),
        ):
            assert (await stranger.post(f"/api{path}", json=sent)).status_code in (404, 422), path
        for path in (f"/workflow/{workflow}/runs", f"/deployment/{deployment}/runs", "/deployments", "/workflows"):
            assert (await stranger.get(f"/api{path}")).json() == [], path
    assert (await ok(await cd.get(f"/run/{run_id}")))["status"] == "not-started"


async def test_progress_is_streamed_until_the_run_ends(cd):
    """A run's stream tells of that run only, and ends with it, whatever other runs do."""
    workflow = (await uploaded(cd))["workflow_id"]
    version = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    deployment = (await ok(await cd.post("/deployment", json={"workflow_version_id": version})))["id"]
    body = {"deployment_id": deployment, "inputs": {"colour": "7"}}
    one, other = [(await ok(await cd.post("/run", json=body)))["run_id"] for _ in range(2)]
    await ok(await cd.post(f"/run/{other}/cancel"))
    await ok(await cd.post(f"/run/{one}/cancel"))
    text = (await cd.get("/v2/stream-progress", params={"run_id": one})).text
    frames = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [frame["type"] for frame in frames[:2]] == ["connection_established", "subscribed"]
    assert {frame["run_id"] for frame in frames[2:]} == {one}
    assert frames[-1]["status"] == "cancelled"
    whole = (await cd.get("/v2/stream-progress", params={"run_id": one, "return_run": "true"})).text
    assert '"queue_position"' in whole
    logs = (await cd.get("/v2/stream-logs", params={"run_id": one})).text
    assert '"stream_complete"' in logs
    assert (await cd.get("/v2/stream-progress")).status_code == 422
    two = {"run_id": one, "workflow_id": workflow}
    assert (await cd.get("/v2/stream-progress", params=two)).status_code == 422


async def test_a_key_is_carried_in_every_way(orchestrator, nobody):
    """As a bearer, with any scheme's name, as x-api-key, and for reading as cd_token; a wrong one is refused."""
    key = orchestrator.api_key
    for headers in ({"Authorization": f"Bearer {key}"}, {"Authorization": f"Token {key}"}, {"x-api-key": key}):
        assert (await nobody.get("/api/workflows", headers=headers)).status_code == 200
    assert (await nobody.get("/api/workflows", params={"cd_token": key})).status_code == 200
    assert (await nobody.post("/api/workflow", params={"cd_token": key}, json={})).status_code == 401
    assert (await nobody.get("/api/workflows", headers={"x-api-key": key + "x"})).status_code == 401


async def test_batches(cd):
    """batch_number makes so many alike, batch_input_params one for each combination; too many are refused."""
    workflow = (await uploaded(cd))["workflow_id"]
    version = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    deployment = (await ok(await cd.post("/deployment", json={"workflow_version_id": version})))["id"]
    body = {"deployment_id": deployment, "inputs": {"colour": 1}, "batch_number": 3}
    made = await ok(await cd.post("/run/deployment/queue", json=body))
    assert made["status"] == "success"
    body = {"deployment_id": deployment, "batch_input_params": {"colour": [1, "2"]}}
    await ok(await cd.post("/run/deployment/queue", json=body))
    runs = await ok(await cd.get(f"/deployment/{deployment}/runs"))
    assert [run["workflow_inputs"]["colour"] for run in runs] == [2, 1, 1, 1, 1]
    assert {run["batch_id"] for run in runs[2:]} == {made["batch_id"]}
    for number in (0, -1, 10**9):
        answer = await cd.post("/run/deployment/queue", json={"deployment_id": deployment, "batch_number": number})
        assert answer.status_code == 422


async def test_webhooks_and_endpoints_stay_off_our_network(cd):
    """A run's webhook and a machine's endpoint may not be an address of cloud metadata or an odd scheme."""
    workflow = (await uploaded(cd))["workflow_id"]
    version = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    deployment = (await ok(await cd.post("/deployment", json={"workflow_version_id": version})))["id"]
    for url in ("http://169.254.169.254/latest", "file:///etc/passwd", "http://user:pass@example.org/"):
        body = {"deployment_id": deployment, "inputs": {"colour": 1}, "webhook": url}
        for path in ("/run", "/run/deployment/queue", "/run/deployment/sync"):
            assert (await cd.post(path, json=body)).status_code == 422, url
        graph = {"workflow_api_json": coloured(), "webhook": url}
        assert (await cd.post("/run/workflow/queue", json=graph)).status_code == 422
        machine = {"name": "x", "endpoint": url, "endpoint_private": True}
        assert (await cd.post("/machine/custom", json=machine)).status_code == 422


async def test_workflows_are_renamed_and_hidden_and_deployments_deleted(cd):
    """PATCH keeps what we keep and ignores the rest; what is gone is 404."""
    workflow = (await uploaded(cd))["workflow_id"]
    path = f"/workflow/{workflow}"
    renamed = await ok(await cd.patch(path, json={"name": "renamed", "pinned": True, "cover_image": None}))
    assert (renamed["name"], renamed["pinned"]) == ("renamed", False)
    assert (await ok(await cd.get(path)))["name"] == "renamed"
    version = (await ok(await cd.get(f"{path}/versions")))[0]["id"]
    deployment = (await ok(await cd.post("/deployment", json={"workflow_version_id": version})))["id"]
    await ok(await cd.delete(f"/deployment/{deployment}"))
    assert (await cd.get(f"/deployment/{deployment}")).status_code == 404
    assert (await cd.patch(path, json={"name": ""})).status_code == 422
    assert (await ok(await cd.patch(path, json={"deleted": True})))["deleted"] is True
    assert (await cd.get(path)).status_code == 404
    assert (await cd.patch(path, json={"name": "x"})).status_code == 404
    assert workflow not in [row["id"] for row in await ok(await cd.get("/workflows/all"))]


async def test_runs_are_counted_for_their_team_only(cd, orchestrator):
    """The count was every team's; the newest run of a workflow is told with its outputs."""
    workflow = (await uploaded(cd))["workflow_id"]
    version = (await ok(await cd.get(f"/workflow/{workflow}/versions")))[0]["id"]
    run_id = (await ok(await cd.post("/run/workflow/queue", json={"workflow_version_id": version})))["run_id"]
    assert (await ok(await cd.get(f"/workflow/{workflow}/run/latest")))["id"] == run_id
    times = {"start_time": "2020-01-01T00:00:00", "end_time": "2100-01-01T00:00:00Z"}
    assert (await ok(await cd.get("/runs/count", params={**times, "workflow_id": workflow})))["count"] == 1
    assert (await ok(await cd.get("/runs/count", params={**times, "workflow_id": workflow, "status": "success"})))[
        "count"
    ] == 0
    async with stranger_of(orchestrator) as stranger:
        assert (await ok(await stranger.get("/api/runs/count", params=times)))["count"] == 0
        assert (await stranger.get(f"/api/workflow/{workflow}/run/latest")).status_code == 404
    assert (await cd.get("/runs/count")).status_code == 422


async def test_the_command_line_registers_a_machine_at_an_endpoint(orchestrator):
    """With --private at a private address; it prints no command for an agent, since there is none."""
    command = [sys.executable, "-m", "client", "--url", orchestrator.url, "--api-key", orchestrator.api_key]
    add = [*command, "machines", "add", f"box {uuid4()}", "--endpoint", "http://10.9.8.7:8188"]
    refused = await asyncio.to_thread(subprocess.run, add, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "private address" in refused.stdout + refused.stderr
    done = await asyncio.to_thread(subprocess.run, [*add, "--private"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "takes runs once http://10.9.8.7:8188 answers" in done.stdout.replace("\n", " ")


async def test_a_workflows_progress_is_streamed(cd):
    """Every run of the workflow is told of, and no other workflow's; a playground key is told of none."""
    ours, other = [(await uploaded(cd))["workflow_id"] for _ in range(2)]
    versions = [(await ok(await cd.get(f"/workflow/{one}/versions")))[0]["id"] for one in (ours, other)]
    seen: list[dict[str, Any]] = []
    async with cd.stream("GET", "/v2/stream-progress", params={"workflow_id": ours, "status": "cancelled"}) as answer:
        lines = answer.aiter_lines()
        async for line in lines:
            if "subscribed" in line:
                break
        for version in reversed(versions):
            run = await ok(await cd.post("/run/workflow/queue", json={"workflow_version_id": version}))
            await ok(await cd.post(f"/run/{run['run_id']}/cancel"))
        async with asyncio.timeout(20):
            async for line in lines:
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    break
    assert [(one["run_id"], one["workflow_id"], one["status"]) for one in seen] == [(run["run_id"], ours, "cancelled")]
    key = (await cd.post("/v1/api-keys", json={"name": "p", "role": "playground"})).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    refused = await cd.get("/v2/stream-progress", params={"workflow_id": ours}, headers=headers)
    assert refused.status_code == 403


async def test_what_an_endpoint_asks_for_is_kept_sealed(cd, orchestrator):
    """auth_token is never shown nor stored as it is, and forgotten when the machine is pointed elsewhere."""
    body = {"name": f"box {uuid4()}", "endpoint": "http://127.0.0.1:9", "endpoint_private": True}
    machine = await ok(await cd.post("/machine/custom", json={**body, "auth_token": "me:hidden-word"}))
    path, name = f"/machine/custom/{machine['id']}", f"endpoint.{machine['id']}"
    assert "hidden-word" not in json.dumps(machine)

    async def stored() -> Any:
        connection = await asyncpg.connect(orchestrator.database_url)
        try:
            return await connection.fetchval("select s::text from secrets s where name = $1", name)
        finally:
            await connection.close()

    kept = await stored()
    assert kept is not None
    assert b"hidden-word".hex() not in kept
    await ok(await cd.patch(path, json={"name": f"box {uuid4()}"}))
    assert await stored() == kept
    await ok(await cd.patch(path, json={"endpoint": "http://127.0.0.1:10"}))
    assert await stored() is None
