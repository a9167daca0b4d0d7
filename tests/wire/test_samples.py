"""The samples of routes that no page of docs/API shows, sent in order to a real server; and sockets and streams."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import websockets

from tests.system import coloured
from tests.wire.conftest import Orchestrator
from tests.wire.samples import SAMPLES, UI, Sample

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _senders(orchestrator: Orchestrator) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Who sends: a key, a browser that logged in, and nobody. None follows a redirect."""
    own = {"Sec-Fetch-Site": "same-origin"}
    async with AsyncExitStack() as stack:
        senders = {}
        for name, headers in (("key", orchestrator.headers), ("browser", own), ("nobody", {})):
            client = httpx.AsyncClient(base_url=orchestrator.url, headers=headers, timeout=30)
            senders[name] = await stack.enter_async_context(client)
        form = {"email": orchestrator.email, "password": orchestrator.password}
        assert (await senders["browser"].post("/login", data=form)).status_code == 303
        yield senders


async def _known(key: httpx.AsyncClient) -> dict[str, str]:
    """What the samples begin with."""
    body = {"workflow_name": "sample", "workflow": UI, "workflow_api": coloured(), "snapshot": {}}
    workflow = (await key.post("/api/workflow", json=body)).json()["workflow_id"]
    version = (await key.get(f"/api/workflow/{workflow}/versions")).json()[0]["id"]
    deployment = (await key.post("/api/deployment", json={"workflow_version_id": version})).json()["id"]
    machine = (await key.post("/api/v1/machines", json={"name": "to be drained"})).json()["id"]
    requests = {name: str(uuid.uuid4()) for name in ("request", "second", "third")}
    return {"workflow": workflow, "version": version, "deployment": deployment, "own": machine, **requests}


def _filled(value: Any, known: dict[str, str]) -> Any:
    text = re.sub(r"<(\w+)>", lambda match: known[match[1]], json.dumps(value))
    return json.loads(text)


async def _send(client: httpx.AsyncClient, sample: Sample, known: dict[str, str]) -> httpx.Response:
    method, path = sample.route.split(" ")
    values = {**known, **sample.values}
    path = known[sample.at] if sample.at else re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
    return await client.request(
        method,
        path,
        params=_filled(sample.query, known) or None,
        json=_filled(sample.body, known),
        data=sample.form,
        files=sample.files,
        content=sample.content,
    )


async def _cancel_all(key: httpx.AsyncClient) -> None:
    """Cancel whatever waits, until stopped."""
    while True:
        waiting = (await key.get("/api/v1/runs", params={"status": "not-started", "limit": 100})).json()["items"]
        for run in waiting:
            await key.post(f"/api/v1/runs/{run['id']}/cancel")
        await asyncio.sleep(0.1)


async def _answer(senders: dict[str, httpx.AsyncClient], sample: Sample, known: dict[str, str]) -> httpx.Response:
    if not sample.ends:
        return await _send(senders[sample.whose], sample, known)
    canceller = asyncio.create_task(_cancel_all(senders["key"]))
    try:
        return await _send(senders[sample.whose], sample, known)
    finally:
        canceller.cancel()
        with suppress(asyncio.CancelledError):
            await canceller


async def test_every_sample_is_answered_as_it_says(orchestrator):
    """One after the other: the status, what the answer holds, and what later ones take from it."""
    wrong = []
    async with _senders(orchestrator) as senders:
        known = await _known(senders["key"])
        for sample in SAMPLES:
            answer = await _answer(senders, sample, known)
            says = _filled(sample.says, known)
            if answer.status_code != sample.status or says not in answer.text:
                wrong.append(f"{sample.route}: {answer.status_code}, says not {says!r}: {answer.text[:300]}")
                continue
            known |= {name: answer.json()[field] for name, field in sample.learn.items()}
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", ["/comfy/ws", "/comfy/api/ws"])
async def test_the_facades_socket_stands_at_both_addresses(orchestrator, path):
    """Its first message is the queue."""
    url = f"{orchestrator.url.replace('http', 'ws', 1)}{path}?token={orchestrator.api_key}"
    async with websockets.connect(url, proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "status"


async def test_the_dashboards_stream_begins_with_a_change(orchestrator):
    """So that a page that was away is fresh."""
    async with _senders(orchestrator) as senders:
        path = "/dashboard/stream"
        async with senders["browser"].stream("GET", path, params={"runs": "1"}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("event:"):
                    assert line == "event: changed"
                    break
