"""Files by signed upload, by hash and by URL, listed and deleted, against the real server and a real web server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

from tests.wire.conftest import Orchestrator, start_orchestrator

pytestmark = pytest.mark.anyio
LIMIT = 100_000
GRAPH = {"1": {"class_type": "ComfyUIDeployExternalImage", "inputs": {"input_id": "photo"}}}


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[Orchestrator]:
    """An orchestrator that may fetch from this machine, small files and not for long."""
    folder = tmp_path_factory.mktemp("orchestrator")
    settings = {"fetch_private": "true", "fetch_timeout_s": "2", "max_upload": str(LIMIT)}
    running = start_orchestrator(folder, module_database_url, **settings)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    """The address of a web server with files, good and bad."""

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=b"a picture", content_type="image/png")

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (LIMIT + 1))

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 10_000)
        return response

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.Event().wait()
        return response

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x")
        request.transport.close()
        return response

    async def packed(_: web.Request) -> web.Response:
        return web.Response(body=b"zip", headers={"Content-Encoding": "gzip"})

    app = web.Application()
    handlers = {"cat.png": picture, "away": away, "large": large, "endless": endless, "slow": slow, "cut": cut}
    app.add_routes([web.get(f"/{name}", handler) for name, handler in {**handlers, "packed": packed}.items()])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def announced(content: bytes, **more: Any) -> dict[str, Any]:
    """The body of an upload."""
    body = {"name": "a.png", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return body | {"content_type": "image/png"} | more


async def upload(api: httpx.AsyncClient, content: bytes, name: str = "a.png") -> dict[str, Any]:
    """A stored file."""
    answer = await api.post("/api/v1/files", files={"file": (name, content, "image/png")})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_file_is_sent_to_a_signed_url(api, nobody, stranger) -> None:
    """Announced, refused while incomplete or wrong, sent without a credential, completed twice, downloaded."""
    content = uuid4().bytes
    made = (await api.post("/api/v1/files/uploads", json=announced(content))).json()
    complete = f"/api/v1/files/uploads/{made['file_id']}/complete"
    early = await api.post(complete)
    assert (early.status_code, early.json()["code"]) == (409, "upload_incomplete")
    wrong = await nobody.put(made["url"], content=b"y" * len(content))
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_sha256")
    assert (await nobody.put(made["url"] + "x", content=content)).status_code == 403
    assert (await nobody.put(made["url"], content=content)).status_code == 204
    assert (await stranger.post(complete)).status_code == 404
    done, again = await api.post(complete), await api.post(complete)
    assert (done.status_code, done.json()["sha256"]) == (200, hashlib.sha256(content).hexdigest())
    assert again.json()["id"] == done.json()["id"] == made["file_id"]
    assert (await nobody.get(done.json()["url"])).content == content
    there = (await api.post("/api/v1/files/uploads", json=announced(content))).json()
    assert there["url"] is None
    assert (await api.post(f"/api/v1/files/uploads/{there['file_id']}/complete")).status_code == 200
    large = await api.post("/api/v1/files/uploads", json=announced(b"", size=LIMIT + 1))
    assert large.status_code == 413
    for bad in ({"sha256": "xyz"}, {"size": -1}, {"name": ""}, {"sha256": "A" * 64}):
        assert (await api.post("/api/v1/files/uploads", json=announced(b"") | bad)).status_code == 422


async def test_a_content_that_is_here_is_named_and_not_sent(api, stranger) -> None:
    """By its hash, within the organisation alone: to others it does not exist."""
    content = uuid4().bytes
    first, body = await upload(api, content), announced(content, name="../b.png")
    again = (await api.post("/api/v1/files/by-hash", json=body)).json()
    assert (again["sha256"], again["name"], again["id"] != first["id"]) == (first["sha256"], "b.png", True)
    path, size = f"/api/v1/files/by-hash/{first['sha256']}", {"size": len(content)}
    assert (await api.head(path, params=size)).status_code == 200
    assert (await api.head(path, params={"size": 1})).status_code == 404
    assert (await stranger.head(path, params=size)).status_code == 404
    refused = await stranger.post("/api/v1/files/by-hash", json=body)
    assert (refused.status_code, refused.json()["code"]) == (404, "content_not_found")


async def test_a_file_is_fetched_by_its_url(api, nobody, elsewhere: str) -> None:
    """With the name and type it has there, through a redirect too, and another name when one is given."""
    plain = await api.post("/api/v1/files/from-url", json={"url": f"{elsewhere}/cat.png"})
    assert plain.status_code == 201, plain.text
    assert (plain.json()["name"], plain.json()["content_type"]) == ("cat.png", "image/png")
    assert (await nobody.get(plain.json()["url"])).content == b"a picture"
    moved = {"url": f"{elsewhere}/away?to=/cat.png", "name": "dog.png"}
    assert (await api.post("/api/v1/files/from-url", json=moved)).json()["name"] == "dog.png"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/none.png", 422, "url_failed"),
        ("/large", 413, "too_large"),
        ("/endless", 413, "too_large"),
        ("/slow", 422, "url_failed"),
        ("/cut", 422, "url_failed"),
        ("/packed", 422, "url_failed"),
        ("/away?to=/away?to=/away", 422, "url_failed"),
        ("/away?to=http://169.254.169.254/latest/meta-data", 422, "url_refused"),
        ("/away?to=file:///etc/passwd", 422, "url_refused"),
        ("/away?to=http://[::ffff:169.254.169.254]/", 422, "url_refused"),
    ],
)
async def test_what_cannot_or_must_not_be_fetched_is_told(
    api, elsewhere: str, orchestrator: Orchestrator, path: str, status: int, code: str
) -> None:
    """Absent, too large with or without saying so, too slow, cut off, packed, redirected in circles or inwards."""
    loop = path if path != "/away?to=/away?to=/away" else "/away?to=/away%3Fto%3D/away"
    answer = await api.post("/api/v1/files/from-url", json={"url": f"{elsewhere}{loop}"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert list((orchestrator.data / "files" / "drafts").iterdir()) == []


async def test_an_inner_address_is_refused_at_once(api) -> None:
    """Whatever the settings: the metadata service, other schemes, logins in the URL."""
    for url in (
        "http://169.254.169.254/x",
        "ftp://example.com/x",
        "http://a:b@example.com/x",
        "http://fe80::1/x",
        "http://xn--a/",
    ):
        answer = await api.post("/api/v1/files/from-url", json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, "url_refused"), url


async def test_files_are_listed_and_narrowed(api, stranger) -> None:
    """Newest first, page by page, by a part of the name; never another's."""
    mark = uuid4().hex
    ids = [(await upload(api, uuid4().bytes, f"{mark}-{n}.png"))["id"] for n in range(3)]
    query = {"name": mark.upper(), "limit": 2}
    page = (await api.get("/api/v1/files", params=query)).json()
    rest = (await api.get("/api/v1/files", params=query | {"cursor": page["next_cursor"]})).json()
    assert [file["id"] for file in page["items"] + rest["items"]] == ids[::-1]
    assert (await api.get("/api/v1/files", params=query | {"purpose": "output"})).json()["items"] == []
    assert (await stranger.get("/api/v1/files", params=query)).json()["items"] == []


async def test_a_file_is_deleted_unless_a_run_needs_it(api, nobody, stranger) -> None:
    """Refused while a run waits for it; afterwards it is gone, and its URL with it."""
    file = await upload(api, uuid4().bytes)
    version = (await api.post("/api/v1/workflows", json={"name": "w", "api_graph": GRAPH})).json()["version"]["id"]
    body = {"version_id": version, "inputs": {"photo": {"file_id": file["id"]}}}
    started = await api.post("/api/v1/runs", json=body)
    assert started.status_code == 202, started.text
    run = started.json()["id"]
    path = f"/api/v1/files/{file['id']}"
    assert (await stranger.delete(path)).status_code == 404
    refused = await api.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
    await api.post(f"/api/v1/runs/{run}/cancel")
    assert (await api.delete(path)).status_code == 204
    assert (await api.delete(path)).status_code == (await api.get(path)).status_code == 404
    assert (await nobody.get(file["url"])).status_code == 404
    assert (await api.post("/api/v1/runs", json=body)).status_code == 422


async def test_a_storage_quota_refuses_every_way_in(api, elsewhere: str) -> None:
    """Multipart, signed upload, by hash, by URL: 403 with the quota's name, and nothing stays behind."""
    content = uuid4().bytes
    await upload(api, content)
    used = (await api.get("/api/v1/usage")).json()["storage"]["bytes"]
    try:
        await api.put("/api/v1/usage/quotas", json={"max_storage_bytes": used})
        answers = [
            await api.post("/api/v1/files", files={"file": ("a", b"more", "text/plain")}),
            await api.post("/api/v1/files/uploads", json=announced(b"more")),
            await api.post("/api/v1/files/by-hash", json=announced(content)),
            await api.post("/api/v1/files/from-url", json={"url": f"{elsewhere}/cat.png"}),
        ]
        assert [(one.status_code, one.json()["code"]) for one in answers] == [(403, "quota_exceeded")] * 4
        assert (await api.get("/api/v1/usage")).json()["storage"]["bytes"] == used
    finally:
        await api.put("/api/v1/usage/quotas", json={})
