"""What goes along with a graph that is sent whole, and comes of it, by both doors; a small machine takes it."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from comfy_sdk import Comfy
from websockets.asyncio.client import ClientConnection, connect

from drivers.wire import AskObjectInfo, Inventory, NodeDone, Output
from tests.wire.fake_agent import connected, register

pytestmark = pytest.mark.anyio


def _graph(node: str) -> dict[str, Any]:
    return {"1": {"class_type": node, "inputs": {"text": "x"}}}


async def _places_of(database_url: str, secret: str) -> list[str]:
    """The tables where a text stands, as it is or in bytes."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        wanted = [f"%{secret}%", f"%{secret.encode().hex()}%"]
        found = []
        for (table,) in tables:
            query = f"select exists (select from {table} t where t::text like any($1::text[]))"
            if await connection.fetchval(query, wanted):
                found.append(table)
        return found
    finally:
        await connection.close()


@pytest.mark.parametrize("door", ["/api/v2/jobs", "/comfy/prompt"])
async def test_keys_of_other_services_reach_the_machine_and_nothing_else(api, orchestrator, door: str):
    """The machine's job has them; no table has them in clear, and no answer shows them."""
    node, secret = f"Node{uuid4().hex}", f"comfyui-{secrets.token_hex(16)}"
    body_of = {"/api/v2/jobs": "workflow", "/comfy/prompt": "prompt"}
    declared = {node: {"input": {"required": {"text": ["STRING"]}}, "output_node": True}}
    async with connected(orchestrator.url, await register(api), Inventory(node_classes=[node]), declared) as agent:
        extra = {"api_key_comfy_org": secret, "extra_pnginfo": {"workflow": {"a": 1}}, "fleet": {"directory": ".."}}
        async with asyncio.timeout(20):
            while True:  # the facade refuses a class until the machine has told of it
                answer = await api.post(door, json={body_of[door]: _graph(node), "extra_data": extra})
                if answer.status_code in (200, 201):
                    break
                await asyncio.sleep(0.05)
        job = await agent.job()
        assert (job.extra, job.ui_graph) == ({"api_key_comfy_org": secret}, {"a": 1})
        assert await _places_of(orchestrator.database_url, secret) == []
        shown = [await api.get(path) for path in ("/comfy/queue", f"/api/v2/jobs/{job.run_id}/workflow")]
        assert not any(secret in one.text for one in shown)
        await agent.work_off(job, [])
    assert secret not in (await api.get("/comfy/history")).text
    assert secret not in (orchestrator.data / "orchestrator.log").read_text()


async def test_too_much_extra_data_is_refused(api):
    """More than sixteen kilobytes of keys, by both doors."""
    extra = {"key": "x" * 20_000}
    job = await api.post("/api/v2/jobs", json={"workflow": _graph("A"), "extra_data": extra})
    assert (job.status_code, job.json()["error"]["code"]) == (422, "invalid_request")
    prompt = await api.post("/comfy/prompt", json={"prompt": _graph("A"), "extra_data": extra})
    assert (prompt.status_code, prompt.json()["error"]["type"]) == (400, "invalid_prompt")


async def test_texts_are_outputs_that_the_client_downloads(api, orchestrator, monkeypatch):
    """comfy-sdk: a node's texts come as one text, other values as JSON; whole and in part."""
    node = f"Node{uuid4().hex}"
    monkeypatch.setenv("COMFY_BASE_URL", orchestrator.url)
    async with connected(orchestrator.url, await register(api), Inventory(node_classes=[node])) as agent:
        with Comfy(api_key=orchestrator.api_key) as comfy:
            job = await asyncio.to_thread(comfy.submit, comfy.workflows.from_json(_graph(node)))
            outputs = [Output("1", "text", data=["one", "zwei \u00e4"]), Output("1", "size", data=[{"width": 3}])]
            await agent.work_off(await agent.job(), outputs)
            done = await asyncio.to_thread(job.result)
            text, size = done.outputs
            assert (text.type, text.name, text.content_type) == ("text", "1-text.txt", "text/plain; charset=utf-8")
            body = await asyncio.to_thread(text.to_bytes)
            assert body.decode() == "one\nzwei \u00e4"
            assert text.size_bytes == len(body)
            assert await asyncio.to_thread(lambda: text.to_bytes(range=(1, 2))) == b"ne"
            assert (size.name, await asyncio.to_thread(size.to_bytes)) == ("1-size.json", b'[{"width":3}]')
    asset = (await api.get(f"/api/v2/assets/{text.id}")).json()
    assert (asset["size_bytes"], asset["job_id"]) == (len(body), job.id)
    refused = await api.get(f"/api/v2/assets/{text.id}/content", headers={"Range": "bytes=999-"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (416, "range_not_satisfiable")


async def test_a_failure_is_told_by_the_stream(api, orchestrator):
    """Before the last status, with the node that is to blame; comfy-sdk reads the stream to its end."""
    node = f"Node{uuid4().hex}"
    async with connected(orchestrator.url, await register(api), Inventory(node_classes=[node])) as agent:
        made = (await api.post("/api/v2/jobs", json={"workflow": _graph(node)})).json()
        failure = {"kind": "node_error", "message": "no", "node_id": "1", "node_type": node}
        await agent.report(await agent.job(), "started", "running", "failed", failure=failure)
    stream = (await api.get(made["urls"]["events"])).text
    names = [line.removeprefix("event: ") for line in stream.splitlines() if line.startswith("event: ")]
    told = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    assert names[-2:] == ["error", "status"]
    assert (told[-2]["code"], told[-2]["node_id"], told[-1]["status"]) == ("node_execution_error", "1", "failed")


async def test_nodes_are_told_as_they_end_and_their_files_are_there(api, orchestrator):
    """A ComfyUI client: `executed` of a node while the prompt goes on, its picture at once, and each node once."""
    node, data = f"Node{uuid4().hex}", secrets.token_bytes(100)
    declared = {node: {"input": {"required": {"text": ["STRING"]}}, "output_node": True}}
    machine, client_id = await register(api), uuid4().hex
    url = orchestrator.url.replace("http", "ws", 1) + f"/comfy/ws?clientId={client_id}&token={orchestrator.api_key}"
    async with (
        connected(orchestrator.url, machine, Inventory(node_classes=[node]), declared) as agent,
        connect(url, proxy=None) as socket,
    ):
        await agent.has(AskObjectInfo)
        body = {"prompt": _graph(node), "client_id": client_id}
        async with asyncio.timeout(20):
            while (await api.post("/comfy/prompt", json=body)).status_code != 200:
                await asyncio.sleep(0.05)
            job = await agent.job()
            file_id = await agent.upload(job, "made.png", data, early=True)
            made = [Output("1", "images", file_id), Output("1", "text", data=["hi"])]
            strange = Output("1", "images", str(uuid4()))
            await agent.send(NodeDone(job.run_id, job.attempt_id, "1", [*made, strange]))
            told = await _until(socket, "executed")
            item = {"filename": "made.png", "subfolder": job.run_id, "type": "output"}
            assert told[-1]["data"]["output"] == {"images": [item], "text": ["hi"]}
            seen = await api.get("/comfy/view", params=item, follow_redirects=True)
            assert seen.content == data
            await agent.work_off(job, made)
            rest = await _until(socket, "execution_success")
    assert "executed" not in [message["type"] for message in rest]
    assert job.live_outputs


async def _until(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """The messages up to one of this kind."""
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["type"] != kind:
        seen.append(json.loads(await socket.recv()))
    return seen
