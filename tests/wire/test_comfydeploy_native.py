"""What ComfyUI's editor starts on its own machine by the plugin, and graphs that are sent for one machine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.system import Team
from tests.wire import pushed
from tests.wire.pushed import GRAPH, PATIENCE_S, Double
from tests.wire.strangers import client_with, stranger_of

pytestmark = pytest.mark.anyio
quick, double, deployment, team = pushed.quick, pushed.double, pushed.deployment, pushed.team


async def _machine(team: Team) -> str:
    page = await team.call("GET", "/machines?limit=100", 200)
    return next(machine["id"] for machine in page["items"] if machine.get("endpoint"))


async def _begun(team: Team, script: dict[str, Any], **more: Any) -> httpx.Response:
    """As the plugin asks before it queues what its editor was told to."""
    body = {
        "client_id": "editor",
        "workflow_api_json": GRAPH,
        "workflow": {"nodes": [{"id": 1}]},
        "inputs": {"script": json.dumps(script)},
        "is_native_run": True,
        "gpu_event_id": "an event",
        "machine_id": await _machine(team),
        **more,
    }
    async with httpx.AsyncClient(base_url=team.url, headers=team.headers, timeout=20) as client:
        return await client.post("/api/run", json=body)


async def test_what_the_editor_queues_is_a_run(team: Team, deployment: str, double: Double) -> None:
    """The plugin queues what it was answered, and its callbacks make a run of one attempt on that machine."""
    begun = await _begun(team, {"case": "save"})
    assert begun.status_code == 200, begun.text
    order = begun.json()
    assert (order["workflow_api_raw"], order["gpu_event_id"]) == (GRAPH, "an event")
    assert order["workflow"] == {"nodes": [{"id": 1}]}
    waits = await team.look(order["run_id"])
    assert (waits["status"], waits["attempt_list"][0]["id"]) == ("queued", order["prompt_id"])
    async with httpx.AsyncClient(base_url=double.url, timeout=20) as machine:
        queued = await machine.post("/comfyui-deploy/run", json=order)
    assert queued.json()["prompt_id"] == order["prompt_id"]
    run = await team.until(order["run_id"], lambda run: "ended_at" in run, PATIENCE_S)
    assert (run["status"], run["attempts"], len(run["outputs"])) == ("success", 1, 2)


async def test_what_the_editor_queued_is_cancelled_there(team: Team, deployment: str, double: Double) -> None:
    """As a run that was pushed: the prompt is interrupted, and the machine takes the next."""
    order = (await _begun(team, {"hold": True})).json()
    async with httpx.AsyncClient(base_url=double.url, timeout=20) as machine:
        await machine.post("/comfyui-deploy/run", json=order)
        await team.until_status(order["run_id"], "started", "running", timeout=PATIENCE_S)
        await team.call("POST", f"/runs/{order['run_id']}/cancel", 200)
        async with asyncio.timeout(PATIENCE_S):
            while order["prompt_id"] in (await machine.get("/queue")).text:
                await asyncio.sleep(0.05)
    assert (await team.look(order["run_id"]))["status"] == "cancelled"


async def test_one_that_the_editor_never_queues_ends(team: Team, deployment: str) -> None:
    """Nobody claims it: it fails in a moment and goes to no other machine."""
    order = (await _begun(team, {"case": "save"})).json()
    run = await team.until(order["run_id"], lambda run: "ended_at" in run, PATIENCE_S)
    assert (run["status"], run["attempts"], run["failure"]["kind"]) == ("failed", 1, "not_claimed")


async def test_an_editors_run_is_for_developers_and_machines_of_the_team(team: Team, quick, deployment: str) -> None:
    """Another team's machine is not there, an agent's machine has no such plugin, a playground key starts none."""
    mine = await _machine(team)
    async with stranger_of(quick) as stranger:
        body = {"is_native_run": True, "machine_id": mine, "workflow_api_json": GRAPH}
        assert (await stranger.post("/api/run", json=body)).status_code == 404
    made = await team.call("POST", "/machines", 201, json={"name": "with an agent"})
    assert (await _begun(team, {}, machine_id=made["id"])).status_code == 422
    assert (await _begun(team, {}, machine_id="no id")).status_code == 404
    assert (await _begun(team, {}, workflow_api_json=None)).status_code == 422
    key = (await team.call("POST", "/api-keys", 201, json={"name": "player", "role": "playground"}))["key"]
    async with client_with(quick, key) as player:
        body = {"is_native_run": True, "machine_id": mine, "workflow_api_json": GRAPH}
        assert (await player.post("/api/run", json=body)).status_code == 403
        assert (await player.post("/api/run", json={"workflow_api_json": GRAPH})).status_code == 403
    nothing = await _begun(team, {}, is_native_run=False, workflow_api_json=None)
    assert (nothing.status_code, nothing.json()["detail"][0]["loc"]) == (422, ["body", "deployment_id"])


async def test_what_a_pushed_machines_classes_take_is_known(team: Team, deployment: str) -> None:
    """As of any machine: a ComfyUI client sees its classes, and who has them."""
    async with httpx.AsyncClient(base_url=team.url, headers=team.headers, timeout=20) as client:
        info = (await client.get("/comfy/object_info/Play")).json()
    assert info["Play"]["availability"] == {"machines": ["box"], "of": 1}


async def test_a_graph_may_be_sent_for_one_machine(team: Team, deployment: str) -> None:
    """machine_id with a graph pins it there; another team's, or none, is not found."""
    async with httpx.AsyncClient(base_url=f"{team.url}/api", headers=team.headers, timeout=20) as client:
        script = {"script": json.dumps({"case": "text_only"})}
        body = {"workflow_api_json": GRAPH, "inputs": script, "machine_id": await _machine(team)}
        queued = await client.post("/run/workflow/queue", json=body)
        run = await team.until(queued.json()["run_id"], lambda run: "machine_id" in run, PATIENCE_S)
        assert run["machine_id"] == body["machine_id"]
        queued = await client.post("/run", json={"workflow_api_json": GRAPH, "inputs": script})
        assert (await client.post(f"/run/{queued.json()['run_id']}/cancel")).status_code == 200
        nowhere = await client.post("/run/workflow/queue", json={**body, "machine_id": run["id"]})
        assert nowhere.status_code == 404
