"""What others see: receivers of webhooks, another organisation, and a client that sends nonsense."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.system import coloured, is_square_of, node
from tests.wire.webhook_receiver import receiving

pytestmark = pytest.mark.anyio


async def _arrived(receiver, path, kind="run.ended"):
    """The messages to a path, once the last is there."""
    async with asyncio.timeout(30), receiver.arrived:
        await receiver.arrived.wait_for(
            lambda: any(seen == path and message["type"] == kind for seen, _, message in receiver.seen)
        )
    return [(message_id, message) for seen, message_id, message in receiver.seen if seen == path]


async def test_an_endpoint_is_told_once_that_a_run_ended(team):
    """Signed as Standard Webhooks has it (the published library verifies it), with the outputs in it."""
    async with receiving() as receiver:
        endpoint = await team.call("POST", "/webhooks", 201, json={"url": f"{receiver.url}/ok"})
        receiver.secret = endpoint["secret"]
        run_id = await team.start(await team.deploy(coloured()), {"colour": 0x00FF7F})
        await team.succeed(run_id)
        messages = await _arrived(receiver, "/ok")
        await team.call("DELETE", f"/webhooks/{endpoint['id']}", 204)
    assert [message["data"]["id"] for _, message in messages] == [run_id]
    assert messages[0][1]["data"]["status"] == "success"
    assert is_square_of(await team.picture(messages[0][1]["data"]), 0x00FF7F)


async def test_a_runs_own_url_is_told_every_step(team):
    """`webhook_url` gets each change of status in turn, each message under an id of its own."""
    async with receiving() as receiver:
        receiver.secret = (await team.call("GET", "/webhooks/run-url-secret", 200))["secret"]
        deployment = await team.deploy(coloured())
        run_id = await team.start(deployment, {"colour": 3}, webhook_url=f"{receiver.url}/ok")
        await team.succeed(run_id)
        messages = await _arrived(receiver, "/ok")
    assert {message["data"]["id"] for _, message in messages} == {run_id}
    assert len({message_id for message_id, _ in messages}) == len(messages)
    assert messages[-1][1]["data"]["status"] == "success"


async def test_another_organisation_sees_nothing_of_ours(team, stranger):
    """Every id of ours is a 404 to them, every list of theirs is empty, and our machines do not run their runs."""
    file = await team.upload("ours.txt", b"ours", "text/plain")
    version = await team.version(coloured())
    deployment = (await team.call("POST", "/deployments", 201, json={"version_id": version["id"]}))["id"]
    run_id = await team.start(deployment, {"colour": 1})
    await team.succeed(run_id)
    machine = (await team.machine("alpha"))["id"]
    ours = [f"/runs/{run_id}", f"/runs/{run_id}/outputs", f"/runs/{run_id}/events", f"/deployments/{deployment}"]
    ours += [f"/workflows/{version['workflow_id']}", f"/machines/{machine}", f"/files/{file['id']}"]
    for path in ours:
        await stranger.call("GET", path, 404)
    for path in (f"/runs/{run_id}/cancel", f"/machines/{machine}/drain", f"/machines/{machine}/enrol-token"):
        await stranger.call("POST", path, 404)
    await stranger.call("POST", "/runs", 404, json={"deployment_id": deployment})
    for name in ("runs", "machines", "workflows", "deployments", "webhooks"):
        assert (await stranger.call("GET", f"/{name}", 200))["items"] == []
    theirs = await stranger.deploy(
        {
            "1": node("ComfyUIDeployExternalImage", input_id="picture"),
            "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        }
    )
    refused = await stranger.http.post(
        "/runs", json={"deployment_id": theirs, "inputs": {"picture": {"file_id": file["id"]}}}
    )
    assert refused.status_code == 422
    waiting = await stranger.start(await stranger.deploy(coloured()))
    assert (await stranger.look(waiting))["waiting_reason"].startswith("no machine is registered")
    await stranger.call("POST", f"/runs/{waiting}/cancel", 200)


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        ({"inputs": {}}, 422, "invalid", "deployment_id"),
        ({"deployment_id": "12"}, 422, "invalid", "deployment_id"),
        ({"deployment_id": "00000000-0000-7000-8000-000000000000"}, 404, "deployment_not_found", None),
        ({"deployment_id": "OURS", "colour": 1}, 422, "unknown_field", "colour"),
        ({"deployment_id": "OURS", "inputs": {"size": 1}}, 422, "unknown_input", "inputs.size"),
        ({"deployment_id": "OURS", "inputs": {"colour": "red"}}, 422, "wrong_input", "inputs.colour"),
        ({"deployment_id": "OURS", "priority": 1000}, 422, "invalid", "priority"),
        ({"deployment_id": "OURS", "timeout_s": 0}, 422, "invalid", "timeout_s"),
    ],
)
async def test_a_run_that_makes_no_sense_is_a_problem_that_names_the_field(team, body, status, code, path):
    """application/problem+json with a stable code and the field; nothing is queued."""
    deployment = await team.deploy(coloured())
    body = {name: deployment if value == "OURS" else value for name, value in body.items()}
    answer = await team.http.post("/runs", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    codes = {problem["code"], *(error.get("code") for error in problem.get("errors", []))}
    assert code in codes, problem
    if path is not None:
        assert path in [error["path"] for error in problem["errors"]], problem
    assert (await team.call("GET", f"/runs?deployment_id={deployment}", 200))["items"] == []


async def test_bodies_and_ids_without_measure_are_refused(team):
    """50 MB, an id that is none, and no credential: 413, 404 and 401, each a problem."""
    answers = [
        await team.http.post("/runs", content=b" " * 50_000_000, headers={"Content-Type": "application/json"}),
        await team.http.get("/runs/../../etc/passwd"),
        await team.http.get("/runs/no-id"),
        await team.anybody.get("/api/v1/runs"),
    ]
    assert [answer.status_code for answer in answers] == [413, 404, 404, 401]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


async def test_an_output_is_reached_by_its_signature_alone(team):
    """The signed URL works without a credential; without the signature, or changed, it does not."""
    run = await team.succeed(await team.start(await team.deploy(coloured()), {"colour": 2}))
    url = httpx.URL(run["outputs"][0]["url"])
    assert (await team.anybody.get(url)).status_code == 200
    assert (await team.anybody.get(url.copy_with(query=None))).status_code in (400, 403, 422)
    forged = url.copy_set_param("signature", "x" * 43)
    assert (await team.anybody.get(forged)).status_code == 403
