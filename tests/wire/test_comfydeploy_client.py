"""ComfyDeploy's clients, unchanged but for the address: the published SDK, and requests as its API is documented."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest
from comfydeploy import ComfyDeploy
from comfydeploy.models import components, errors
from standardwebhooks import Webhook

from tests.system import Team, until
from tests.wire import pushed
from tests.wire.conftest import Orchestrator
from tests.wire.pushed import PATIENCE_S

pytestmark = pytest.mark.anyio
quick, double, deployment, team = pushed.quick, pushed.double, pushed.deployment, pushed.team
CASE = {"script": json.dumps({"case": "save"})}
NEVER = {"script": json.dumps({"hold": True})}


@pytest.fixture
async def client(quick: Orchestrator, team: Team) -> Any:
    """A plain client of /api with the administrator's key."""
    async with httpx.AsyncClient(base_url=f"{quick.url}/api", headers=quick.headers, timeout=40) as client:
        yield client


@pytest.fixture
async def clients() -> AsyncIterator[dict[str, Any]]:
    """Connections for the published client, which are closed at the end."""
    async with httpx.AsyncClient() as asynchronous:
        with httpx.Client() as synchronous:
            yield {"client": synchronous, "async_client": asynchronous}


@pytest.fixture
def sdk(quick: Orchestrator, team: Team, clients: dict[str, Any]) -> ComfyDeploy:
    """The published client, comfydeploy 0.7.0."""
    return ComfyDeploy(bearer=quick.api_key, server_url=f"{quick.url}/api", **clients)


async def queued(sdk: ComfyDeploy, request: components.DeploymentRunRequest) -> str:
    answer = (await sdk.run.deployment.queue_async(request=request)).create_run_response
    assert answer is not None
    return answer.run_id


async def got(sdk: ComfyDeploy, run_id: str) -> components.WorkflowRunModel:
    run = (await sdk.run.get_async(run_id=run_id)).workflow_run_model
    assert run is not None
    return run


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        answer = await client.get(f"/run/{run_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    return await until(look, lambda run: run["ended_at"] is not None, PATIENCE_S)


async def test_the_published_client_queues_gets_and_cancels(sdk: ComfyDeploy, client: Any, deployment: str) -> None:
    """Its strict models read every answer: a finished run with its pictures, and one that was cancelled."""
    request = components.DeploymentRunRequest(deployment_id=deployment, inputs=CASE)
    run_id = await queued(sdk, request)
    await ended(client, run_id)
    run = await got(sdk, run_id)
    assert (run.status, run.number, run.workflow_api) == ("success", 0, None)
    assert run.run_duration is not None
    (output,) = run.outputs
    assert {item.filename for item in output.data["images"]} == {"rec_00001_.png", "rec_00002_.png"}
    async with httpx.AsyncClient() as anybody:
        assert (await anybody.get(output.data["images"][0].url)).status_code == 200

    request = components.DeploymentRunRequest(deployment_id=deployment, inputs=NEVER)
    holding = await queued(sdk, request)
    await sdk.run.cancel_async(run_id=holding)
    assert (await ended(client, holding))["status"] == "cancelled"
    assert (await got(sdk, holding)).outputs == []


async def test_the_published_client_reads_every_case(sdk: ComfyDeploy, client: Any, deployment: str) -> None:
    """Texts, a refused graph and a failing node: the models read the run, and `error` says why it failed."""
    for case, status in (("text_only", "success"), ("node_error", "failed"), ("runtime_error", "failed")):
        inputs = {"script": json.dumps({"case": case})}
        request = components.DeploymentRunRequest(deployment_id=deployment, inputs=inputs)
        run_id = await queued(sdk, request)
        plain = await ended(client, run_id)
        run = await got(sdk, run_id)
        assert run.status == status
        assert (plain["error"] is None) == (status == "success")
        if case == "text_only":
            assert run.outputs[0].data == {"text": ["a cat"]}


async def test_the_published_client_reads_refusals(
    sdk: ComfyDeploy, quick: Orchestrator, clients: dict[str, Any]
) -> None:
    """A wrong body is its HTTPValidationError, a wrong key or an unknown run its SDKError."""
    with pytest.raises(errors.SDKError) as unknown:
        await sdk.run.get_async(run_id=str(uuid4()))
    assert unknown.value.status_code == 404
    request = components.DeploymentRunRequest(deployment_id="no id", inputs={})
    with pytest.raises(errors.HTTPValidationError) as invalid:
        await sdk.run.deployment.queue_async(request=request)
    assert invalid.value.data.detail[0].msg
    nobody = ComfyDeploy(bearer="wrong", server_url=f"{quick.url}/api", **clients)
    with pytest.raises(errors.SDKError) as refused:
        await nobody.run.get_async(run_id=str(uuid4()))
    assert refused.value.status_code == 401


async def test_the_first_generation_starts_and_polls(client: Any, deployment: str) -> None:
    """POST /api/run and GET /api/run?run_id=, with numbers as text and inputs that nobody knows."""
    answer = await client.post("/run", json={"deployment_id": deployment, "inputs": {**CASE, "unheard of": "7"}})
    assert answer.status_code == 200, answer.text
    run_id = answer.json()["run_id"]
    await ended(client, run_id)
    run = (await client.get("/run", params={"run_id": run_id})).json()
    assert run["status"] == "success"
    assert run["outputs"][0]["data"]["images"][0]["url"].startswith("http")
    assert set(run["workflow"]) == {"org_id", "user_id"}
    position = (await client.get(f"/run/{run_id}", params={"queue_position": "true"})).json()["queue_position"]
    assert position is None


async def test_a_run_is_waited_for(client: Any, deployment: str) -> None:
    """/sync answers with the outputs, or says why the run failed."""
    body = {"deployment_id": deployment, "inputs": CASE}
    outputs = (await client.post("/run/deployment/sync", json=body)).json()
    assert len(outputs[0]["data"]["images"]) == 2
    assert outputs[0]["node_meta"]["node_id"] == "3"
    body["inputs"] = {"script": json.dumps({"case": "runtime_error"})}
    failed = await client.post("/run/deployment/sync", json=body)
    assert failed.status_code == 500
    assert "IndexError" in failed.json()["detail"]


async def test_a_run_is_streamed(client: Any, deployment: str) -> None:
    """/stream sends event_update frames: the run's id, statuses, progress, outputs before the last status; it ends."""
    body = {"deployment_id": deployment, "inputs": CASE}
    text = (await client.post("/run/deployment/stream", json=body)).text
    frames = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    events = [frame["event"] for frame in frames]
    assert events[0] == "run_id"
    assert events[-2:] == ["output_ready", "status"]
    assert frames[-1]["data"]["status"] == "success"


async def test_a_graph_is_run(client: Any, quick: Orchestrator) -> None:
    """/run/workflow: inputs are laid into the graph that is sent along."""
    body = {"workflow_id": str(uuid4()), "workflow_api_json": pushed.GRAPH, "inputs": CASE}
    answer = await client.post("/run/workflow/queue", json=body)
    assert answer.status_code == 200, answer.text
    run = await ended(client, answer.json()["run_id"])
    assert run["status"] in ("success", "failed"), run
    assert (await client.post("/run/workflow/queue", json={"inputs": {}})).status_code == 422


async def test_another_teams_runs_are_not_there(quick: Orchestrator, client: Any, deployment: str) -> None:
    """A personal key, another team's: its own 404 for get and cancel, whatever the run is."""
    run_id = (await client.post("/run", json={"deployment_id": deployment, "inputs": CASE})).json()["run_id"]
    for path in (f"/run/{run_id}", f"/run?run_id={run_id}"):
        assert (await client.get(path, headers={"Authorization": ""})).status_code == 401
    assert (await client.get(f"/run/{uuid4()}")).status_code == 404
    assert (await client.post(f"/run/{uuid4()}/cancel")).status_code == 404


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    """A webhook's receiver."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def heard(receiver: Any, run_id: str, *wanted: str) -> list[dict[str, Any]]:
    """What the receiver was told of the run, once all of these events and statuses are among it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            told = [one for one in (json.loads(body) for _, body in receiver.received) if one["run_id"] == run_id]
            if set(wanted) <= {one["event_type"] for one in told} | {one["status"] for one in told}:
                return told
            await asyncio.sleep(0.05)


async def test_webhooks_speak_comfydeploy(client: Any, deployment: str, receiver: Any) -> None:
    """`run.updated` for every status and, as the address asks, `run.output` for each node; signed; read by the SDK."""
    secret = (await client.get("/v1/webhooks/run-url-secret")).json()["secret"]
    url = f"http://127.0.0.1:{receiver.server_port}/hook?target_events=run.output"
    body = {"deployment_id": deployment, "inputs": CASE, "webhook": url}
    run_id = (await client.post("/run/deployment/queue", json=body)).json()["run_id"]
    told = await heard(receiver, run_id, "run.output", "success", "running")
    parsed = [components.WorkflowRunWebhookBody.model_validate(one) for one in told]
    assert {one.status for one in parsed} >= {components.WorkflowRunStatus.SUCCESS}
    output = next(one for one in told if one["event_type"] == "run.output")
    assert len(output["outputs"]) == 1
    assert len(output["outputs"][0]["data"]["images"]) == 2
    for headers, sent in receiver.received:
        Webhook(secret).verify(sent, headers)


async def test_a_failure_is_told_with_its_status(client: Any, deployment: str, receiver: Any) -> None:
    """A graph that the machine refuses at once is told of, too, and the run says why and when it ended."""
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    body = {"deployment_id": deployment, "inputs": {"script": json.dumps({"case": "node_error"})}, "webhook": url}
    run_id = (await client.post("/run/deployment/queue", json=body)).json()["run_id"]
    told = await heard(receiver, run_id, "failed")
    assert {one["event_type"] for one in told} == {"run.updated"}
    run = await ended(client, run_id)
    assert "missing.png" in run["error"]
    assert run["duration"] >= 0


async def test_lists_of_runs(client: Any, deployment: str) -> None:
    """A workflow's and a deployment's runs, newest first, by status and by time."""
    run_id = (await client.post("/run/deployment/queue", json={"deployment_id": deployment, "inputs": CASE})).json()[
        "run_id"
    ]
    run = await ended(client, run_id)
    found = (await client.get(f"/deployment/{deployment}/runs", params={"limit": 1})).json()
    assert found[0]["id"] == run_id
    path = f"/v2/workflow/{run['workflow_id']}/runs"
    by_status = (await client.get(path, params={"status": "success", "limit": 1})).json()
    assert by_status[0]["id"] == run_id
    assert by_status[0]["outputs"] is None
    whole = (await client.get(path, params={"status": "success", "limit": 1, "with_outputs": True})).json()
    assert whole[0]["outputs"] == run["outputs"] != []
    later = datetime.now(UTC).timestamp() + 60
    assert (await client.get(path, params={"rf": later})).json() == []
