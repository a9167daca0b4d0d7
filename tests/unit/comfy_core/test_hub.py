"""The way to clients: pictures that give way, clients that cannot follow, what JSON does not have. Sockets are real."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from comfy_core.server import hub as hub_module
from comfy_core.server.hub import Client, Hub, encode
from comfy_core.server.line import Line
from comfy_core.server.previews import preview_of

pytestmark = pytest.mark.anyio
FACTS = {"node_id": "a", "prompt_id": "p"}


@asynccontextmanager
async def connected(hub: Hub, pump: bool = True) -> AsyncIterator[tuple[Client, aiohttp.ClientWebSocketResponse]]:
    """A client of the hub and its other end. pump False: nothing is sent until the test does it."""
    met: asyncio.Future[Client] = asyncio.get_running_loop().create_future()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = Client("one", Line(socket, request.transport))
        hub.join(client)
        met.set_result(client)
        task = asyncio.create_task(client.pump()) if pump else None
        async for _ in socket:
            pass
        if task is not None:
            task.cancel()
        hub.leave(client)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.attach(asyncio.get_running_loop(), lambda: 0)
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/ws") as other:
            yield await asyncio.wait_for(met, 10), other
    finally:
        await runner.cleanup()


def picture(shade: int, size: int | None) -> Any:
    return ("JPEG", Image.new("L", (8, 8), shade), size)


async def test_of_small_pictures_that_wait_the_newest_is_sent() -> None:
    """Ten previews of one node before the client is ready: it gets the last; another node's is not touched."""
    hub = Hub()
    async with connected(hub, pump=False) as (client, other):
        for shade in range(0, 250, 25):
            hub.send_preview(picture(shade, 16), FACTS, "one")
        hub.send_preview(picture(7, 16), FACTS | {"node_id": "b"}, "one")
        hub.send("after", {}, "one")
        await asyncio.sleep(0)
        task = asyncio.create_task(client.pump())
        shades = []
        while (message := await other.receive(timeout=5)).type is aiohttp.WSMsgType.BINARY:
            with Image.open(io.BytesIO(message.data[8:])) as shown:
                shades.append(round(shown.convert("L").getpixel((1, 1))))
        assert [round(shade / 5) for shade in shades] == [45, 1]
        assert json.loads(message.data) == {"type": "after", "data": {}}
        task.cancel()


async def test_pictures_of_full_size_all_arrive() -> None:
    """Those without a size are results: each is sent, in order."""
    hub = Hub()
    async with connected(hub) as (_, other):
        for shade in (10, 20, 30):
            hub.send_preview(picture(shade, None), FACTS, "one")
        for shade in (10, 20, 30):
            with Image.open(io.BytesIO((await other.receive(timeout=5)).data[8:])) as shown:
                assert abs(shown.convert("L").getpixel((1, 1)) - shade) <= 1


async def test_a_client_that_cannot_follow_is_closed_with_1013(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the backlog takes: the socket ends instead of memory filling."""
    monkeypatch.setattr(hub_module, "BACKLOG_AT_MOST", 50)
    hub = Hub()
    async with connected(hub) as (_, other):
        for number in range(60):
            hub.send("many", {"number": number}, "one")
        while (message := await other.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1013)


async def test_a_client_that_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose buffers are full cannot be told: its line is cut soon after."""
    monkeypatch.setattr(hub_module, "BACKLOG_BYTES", 1 << 20)
    monkeypatch.setattr(hub_module, "GOODBYE_S", 0.05)
    hub = Hub()
    async with connected(hub) as (client, other):
        async with asyncio.timeout(10):
            while not client.socket.closed:
                hub.send("large", "x" * 500_000, "one")
                await asyncio.sleep(0.001)
        assert not other.closed or other.close_code in (1006, 1013)


def test_pictures_that_are_none_are_passed_over() -> None:
    """Another shape, or pixels that cannot be encoded, are dropped without an error."""
    for given in (None, 5, ("JPEG",), ("JPEG", "no image", 5), ("JPEG", Image.new("L", (1, 1)), "5")):
        assert preview_of(given, FACTS) is None
    empty = preview_of(("PNG", Image.new("RGB", (0, 0)), 5), FACTS)
    assert empty is not None
    assert empty.encoded(with_facts=True) is None


def test_numbers_json_does_not_have_become_null() -> None:
    """NaN and infinities would make the whole message unreadable for a browser."""
    odd = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (float("-inf"),)}}
    said = json.loads(encode("executed", odd)[1])
    assert json.loads(encode("executed", odd | {"e": "\ud800"})[1])["data"] == said["data"] | {"e": "\ud800"}
    assert said["data"] == {"a": None, "b": [None, 1.5], "c": {"d": [None]}}
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "unreadable" in json.loads(encode("executed", deep)[1])["data"]


async def test_whatever_packs_send_arrives() -> None:
    """A tuple, a text, nothing: any event with any data reaches the client as JSON."""
    hub = Hub()
    async with connected(hub) as (_, other):
        for data in ((1, 2), "text", None, {"a": {1, 2}.__class__}):
            hub.send("mine", data, "one")
        heard = [json.loads((await other.receive(timeout=5)).data)["data"] for _ in range(4)]
        assert heard == [[1, 2], "text", None, {"a": "<class 'set'>"}]


def test_what_cannot_be_made_text_is_told_so() -> None:
    """A node may show an object whose own text raises: its message says that, and no other is lost."""

    class Odd:
        def __str__(self) -> str:
            raise KeyError("no text")

        __repr__ = __str__

    assert "unreadable" in json.loads(encode("executed", {"a": Odd()})[1])["data"]
