"""The way to a ComfyUI with the plugin: its ComfyUI half against the real executor, its plugin half against answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from drivers import egress
from drivers.base import OutcomeUnknown, Unreachable
from drivers.plugin import PluginMachine, Refusal
from orchestrator.runs.callbacks import decide
from orchestrator.runs.comfyui import from_history
from tests.executor.process import Executor
from tests.system import laborious, node

pytestmark = pytest.mark.anyio
PATIENCE_S = 60
GRAPH = {
    "1": node("EmptyImage", width=8, height=8, batch_size=1, color=255),
    "2": node("SaveImage", images=["1", 0], filename_prefix="blue"),
}


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """comfy_core, which speaks ComfyUI's API."""
    running = Executor(tmp_path_factory.mktemp("executor"))
    yield running
    running.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A guarded session that may reach this machine."""
    async with egress.guarded_session(True, 10) as session:
        yield session


@pytest.fixture
def machine(executor: Executor, session: aiohttp.ClientSession) -> PluginMachine:
    """The executor as a machine."""
    return PluginMachine(session, executor.url + "/", allow_private=True)


async def prompt(session: aiohttp.ClientSession, url: str, graph: dict[str, Any]) -> str:
    prompt_id = str(uuid4())
    async with session.post(f"{url}/prompt", json={"prompt": graph, "prompt_id": prompt_id}) as answer:
        assert answer.status == 200, await answer.text()
    return prompt_id


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while not (seen := await look()):
            await asyncio.sleep(0.05)
        return seen


async def test_it_reads_a_real_executor(
    machine: PluginMachine, session: aiohttp.ClientSession, executor: Executor
) -> None:
    """Health, node classes and models; a prompt's history as facts that make a success; its file by /view."""
    assert "system" in await machine.system_stats()
    assert {"EmptyImage", "SaveImage"} <= set(await machine.declared())
    assert isinstance(await machine.models(), list)
    prompt_id = await prompt(session, executor.url, GRAPH)
    facts = from_history(await until(lambda: machine.history(prompt_id)))
    assert prompt_id not in await machine.queue()
    (made,) = facts.files.values()
    verdict = decide(facts, 0.0)
    assert (verdict.rung, verdict.missing) == ("uploading", [made])
    async with machine.view(made.name, made.subfolder) as chunks:
        assert chunks is not None
        assert b"".join([chunk async for chunk in chunks]).startswith(b"\x89PNG")
    async with machine.view("no such file.png", "") as chunks:
        assert chunks is None
    assert await machine.history(str(uuid4())) is None


async def test_it_cancels_on_a_real_executor(
    machine: PluginMachine, session: aiohttp.ClientSession, executor: Executor
) -> None:
    """The prompt under execution is interrupted, one that waits leaves the queue, and neither touches the other."""
    graph = laborious(200)
    graph["1"] = node("PrimitiveInt", value=255)
    running = await prompt(session, executor.url, graph)
    waiting = await prompt(session, executor.url, GRAPH)

    async def both() -> bool:
        queue = await machine.queue()
        return running in queue.running and waiting in queue.pending

    await until(both)
    await machine.cancel(waiting)
    assert waiting not in await machine.queue()
    assert running in (await machine.queue()).running
    await machine.cancel(running)
    facts = from_history(await until(lambda: machine.history(running)))
    assert decide(facts, 0.0).rung == "cancelled"


@pytest.fixture
async def plugin() -> AsyncIterator[dict[str, Any]]:
    """A server whose answer to /comfyui-deploy/run is what the test says, and its address."""
    said: dict[str, Any] = {}

    async def run(request: web.Request) -> web.StreamResponse:
        said["body"], said["authorization"] = await request.json(), request.headers["Authorization"]
        if said.get("cut"):
            request.transport.abort()
        return web.Response(status=said["status"], text=said["text"])

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})

    app = web.Application()
    app.router.add_post("/comfyui-deploy/run", run)
    app.router.add_get("/system_stats", elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    said["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield said
    await runner.cleanup()


async def test_what_an_answer_to_an_order_means(plugin: dict[str, Any], session: aiohttp.ClientSession) -> None:
    """200, and 400 with node_errors alone: queued. 400 with an error, 404 and 500: refused. A cut: nobody knows."""
    machine = PluginMachine(session, plugin["url"], allow_private=True)
    for status, text in (
        (200, '{"prompt_id": "p", "number": 1, "node_errors": {}}'),
        (400, '{"node_errors": {"1": {}}}'),
    ):
        plugin.update(status=status, text=text)
        await machine.run({"prompt_id": "p"}, "cft_x")
    assert (plugin["body"], plugin["authorization"]) == ({"prompt_id": "p"}, "Bearer cft_x")
    for status, text in ((400, '{"error": {"message": "no"}, "node_errors": {}}'), (404, "not here"), (500, "oh\xff")):
        plugin.update(status=status, text=text)
        with pytest.raises(Refusal) as refused:
            await machine.run({}, "cft_x")
        assert refused.value.status == status
    plugin.update(status=200, text="", cut=True)
    with pytest.raises(OutcomeUnknown):
        await machine.run({}, "cft_x")


async def test_what_cannot_be_reached(plugin: dict[str, Any], session: aiohttp.ClientSession) -> None:
    """Nobody there, a redirect to where it may not go, and a private address without leave: unreachable, each."""
    with pytest.raises(Unreachable):
        await PluginMachine(session, "http://127.0.0.1:9", allow_private=True).run({}, "cft_x")
    with pytest.raises(Unreachable, match="302"):
        await PluginMachine(session, plugin["url"], allow_private=True).system_stats()
    async with egress.guarded_session(False, 5) as strict:
        with pytest.raises(Unreachable, match="may not be reached"):
            await PluginMachine(strict, plugin["url"], allow_private=False).queue()
    assert "body" not in plugin


async def test_a_login_goes_with_every_request(plugin: dict[str, Any], session: aiohttp.ClientSession) -> None:
    """Basic, as a proxy before ComfyUI asks for it; the attempt's token is in the body then."""
    plugin.update(status=200, text="{}")
    await PluginMachine(session, plugin["url"], allow_private=True, login="me:word").run({"cd_token": "cft_x"}, "cft_x")
    assert plugin["authorization"] == "Basic bWU6d29yZA=="
    assert plugin["body"]["cd_token"] == "cft_x"
