"""Fetching inputs over real sockets, the cache's limit, and file names put into workflows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from drivers.wire import AttemptId, Job, JobFile, LeaseToken, RunId
from machine_agent.cache import Cache
from machine_agent.errors import AttemptFailed
from machine_agent.inputs import Inputs, replaced
from machine_agent.shelf import LocalShelf

pytestmark = pytest.mark.anyio


class Server:
    """A file server that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failures = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path == "/to-file":
            return web.Response(status=302, headers={"Location": "file:///etc/passwd"})
        if request.path == "/to-photo":
            return web.Response(status=302, headers={"Location": "/photo"})
        if request.path == "/for-ever":
            return web.Response(status=302, headers={"Location": "/for-ever"})
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        return web.Response(body=b"photo")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", one.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield one
    await runner.cleanup()


@pytest.fixture
async def inputs(server: Server, tmp_path: Path) -> AsyncIterator[Inputs]:
    async with aiohttp.ClientSession() as session:
        one = Inputs(session, server.url, Cache(tmp_path / "cache", 1000), allow_private=True)
        yield one
        await one.close()


def job(**changes: object) -> Job:
    fields = {"key": "k", "url": "/photo", "name": "Photo.PNG", "trusted": True, **changes}
    workflow = {"1": {"class_type": "LoadImage", "inputs": {"image": "fleet-file:k", "other": "fleet-file:z"}}}
    return Job(RunId("r"), AttemptId("a"), 1, LeaseToken("t"), workflow, 60, [JobFile(**fields)])


async def test_place_and_release(inputs: Inputs, server: Server, tmp_path: Path) -> None:
    """A file lands under its hash with its own suffix, comes from the cache the second time, and is taken away."""
    sha256 = hashlib.sha256(b"photo").hexdigest()
    for directory in (None, "run-1"):
        fetched = await inputs.fetch(job(sha256=sha256, size=5))
        assert fetched.workflow["1"]["inputs"] == {"image": f"fleet/{sha256}.png", "other": "fleet-file:z"}
        shelf = LocalShelf(tmp_path, directory)
        for name, path in fetched.files.items():
            await shelf.put(path, name)
        assert (tmp_path / "input" / (directory or "") / "fleet" / f"{sha256}.png").read_bytes() == b"photo"
        await shelf.clear()
        inputs.release(fetched)
        assert not [path for path in (tmp_path / "input").rglob("*") if path.is_file() or path.name == directory]
    assert server.asked == ["/photo"]


async def test_broken_server_is_retried(inputs: Inputs, server: Server) -> None:
    """A server that fails twice only delays the fetch."""
    server.failures = 2
    await inputs.fetch(job())
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 4}, "larger than 4 bytes"),
        ({"url": "/for-ever"}, "too many redirects"),
        ({"sha256": "xyz"}, "not a SHA-256"),
        ({"sha256": "0" * 64}, "hash does not match"),
    ],
)
async def test_unavailable(inputs: Inputs, changes: dict, words: str) -> None:
    """Each way an input can be wrong is said in words."""
    with pytest.raises(AttemptFailed, match=words):
        await inputs.fetch(job(**changes))


async def test_users_redirects(inputs: Inputs, server: Server) -> None:
    """A user's URL may redirect to http, but not out of it."""
    await inputs.fetch(job(trusted=False, url=f"{server.url}/to-photo"))
    with pytest.raises(AttemptFailed, match="only http and https"):
        await inputs.fetch(job(trusted=False, url=f"{server.url}/to-file"))


async def test_redirect_into_the_private_network(server: Server, tmp_path: Path) -> None:
    """A guarded fetch does not reach a local server at all."""
    async with aiohttp.ClientSession() as session:
        guarded = Inputs(session, server.url, Cache(tmp_path / "cache", 1000), allow_private=False)
        try:
            for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
                url = server.url.replace("127.0.0.1", host)
                with pytest.raises(AttemptFailed, match=r"public address|not a canonical"):
                    await guarded.fetch(job(trusted=False, url=f"{url}/photo"))
        finally:
            await guarded.close()
    assert server.asked == []


async def test_cache_limit(tmp_path: Path) -> None:
    """Past the limit the least recently used go first, and a file in use stays."""
    cache = Cache(tmp_path, 100)
    for number in range(4):
        sha256 = f"{number}" * 64
        incoming = cache.incoming("x")
        incoming.write_bytes(b"x" * 40)
        os.utime(cache.adopt(incoming, sha256), (number, number))
    cache.pin("0" * 64)
    await cache.trim()
    assert [number for number in range(4) if cache.find(f"{number}" * 64)] == [0, 3]


def test_replaced_leaves_the_workflow_alone() -> None:
    """The workflow given is not changed; lists and nested values are searched too."""
    workflow = {"1": {"class_type": "X", "inputs": {"a": ["fleet-file:k", {"b": "fleet-file:k"}], "c": 3}}}
    result = replaced(workflow, {"fleet-file:k": "fleet/x.png"})
    assert result["1"]["inputs"] == {"a": ["fleet/x.png", {"b": "fleet/x.png"}], "c": 3}
    assert workflow["1"]["inputs"]["a"][0] == "fleet-file:k"


def test_references_in_a_json_list_are_replaced() -> None:
    """A batch of images is a JSON text: each reference in it becomes a name, other texts stay as they are."""
    names = {"fleet-file:a": "fleet/1.png", "fleet-file:a.1": "fleet/2.png"}
    inputs = {"images": '["fleet-file:a.1", "fleet-file:a", "data:x"]', "text": "[fleet-file:a", "one": "fleet-file:a"}
    laid = replaced({"1": {"class_type": "X", "inputs": inputs}}, names)
    assert laid["1"]["inputs"] == {
        "images": '["fleet/2.png","fleet/1.png","data:x"]',
        "text": "[fleet-file:a",
        "one": "fleet/1.png",
    }
