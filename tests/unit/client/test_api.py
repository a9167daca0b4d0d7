"""The SDK against a real server on a real socket that speaks the wire, badly where a test asks for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from client.api import Fleet, every, safe_name
from client.errors import BadDownload, FleetError, Unreachable
from orchestrator import wire

pytestmark = pytest.mark.anyio
NOW = "2026-01-01T00:00:00Z"


def machine(name: str) -> dict[str, Any]:
    """A machine as the API shows it."""
    return {"id": name, "name": name, "kind": "classic", "state": "ready", "created_at": NOW, "connected": True}


def run(status: str) -> dict[str, Any]:
    """A run as the API shows it."""
    return {
        "id": "r1", "status": status, "workflow_id": "w", "version_id": "v", "created_at": NOW, "revision": 3,
    }  # fmt: skip


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[Fleet]:
    """A fleet whose orchestrator answers those routes."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with Fleet(f"http://127.0.0.1:{port}", "cf_key", timeout_s=5) as fleet:
        yield fleet
    await runner.cleanup()


async def test_lists_are_read_to_their_end() -> None:
    """every() follows the cursors, and the key goes along."""

    async def machines(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer cf_key"
        more = request.query.get("cursor") is None
        return web.json_response({"items": [machine("a" if more else "b")]} | ({"next_cursor": "n"} if more else {}))

    async with serving(web.get("/api/v1/machines", machines)) as fleet:
        assert [one.name async for one in every(fleet.machines.list)] == ["a", "b"]


async def test_a_problem_becomes_an_error_with_its_code_and_fields() -> None:
    """problem+json arrives as FleetError: code, status, request id, and each wrong field in the text."""

    async def refuse(_: web.Request) -> web.Response:
        problem = {
            "title": "Invalid", "status": 422, "code": "unknown_field", "request_id": "q1",
            "errors": [{"path": "name", "message": "too long"}],
        }  # fmt: skip
        return web.json_response(problem, status=422, content_type="application/problem+json")

    async with serving(web.post("/api/v1/workflows", refuse)) as fleet:
        with pytest.raises(FleetError, match="name: too long") as caught:
            await fleet.workflows.create("x")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (422, "unknown_field", "q1")


async def test_an_answer_that_is_no_problem_is_an_error_all_the_same() -> None:
    """A proxy's error page is quoted, not tripped over."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<h1>Bad gateway</h1>")

    async with serving(web.get("/api/v1/auth/me", refuse)) as fleet:
        with pytest.raises(FleetError, match="Bad gateway"):
            await fleet.me()


async def test_busy_is_tried_again_and_a_run_is_sent_once() -> None:
    """503 is retried; a POST whose answer is lost is not repeated."""
    tries = {"get": 0, "post": 0}

    async def busy(_: web.Request) -> web.Response:
        tries["get"] += 1
        return web.Response(status=503) if tries["get"] < 3 else web.json_response({"items": []})

    async def lost(request: web.Request) -> web.Response:
        tries["post"] += 1
        assert request.transport
        request.transport.close()
        return web.Response()

    async with serving(web.get("/api/v1/machines", busy), web.post("/api/v1/runs", lost)) as fleet:
        assert (await fleet.machines.list()).items == []
        with pytest.raises(Unreachable):
            await fleet.runs.create(deployment_id="d")
    assert tries == {"get": 3, "post": 1}


async def test_a_broken_stream_goes_on_where_it_broke() -> None:
    """Events resume with Last-Event-ID; nothing is missed, nothing comes twice, and the end ends it."""
    asked: list[str | None] = []

    def frame(revision: int, status: str) -> bytes:
        event = {"run_id": "r1", "revision": revision, "status": status, "at": NOW}
        return f"id: {revision}\nevent: status\ndata: {json.dumps(event)}\n\n".encode()

    async def events(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if len(asked) == 1:
            progress = json.dumps({"run_id": "r1", "value": 0.5})
            await response.write(
                b": hello\n\n" + frame(1, "queued") + f"event: progress\ndata: {progress}\n\n".encode()
            )
            await response.write(b"id: 2\nevent: status\ndata: {torn")
            assert request.transport
            request.transport.close()
        else:
            await response.write(frame(2, "started") + frame(3, "success"))
        return response

    async def get(_: web.Request) -> web.Response:
        return web.json_response(run("success" if len(asked) > 1 else "started"))

    async with serving(web.get("/api/v1/runs/r1/events", events), web.get("/api/v1/runs/r1", get)) as fleet:
        seen = [event async for event in fleet.runs.events("r1")]
        assert (await fleet.runs.get("r1")).status == "success"
    statuses = [event.status for event in seen if isinstance(event, wire.RunEvent)]
    assert statuses == ["queued", "started", "success"]
    assert asked == [None, "1"]


async def test_downloads_are_checked(tmp_path: Path) -> None:
    """Bytes that do not match their hash are refused and leave no file; the key never leaves for another host."""
    content = b"picture"

    async def file(_: web.Request) -> web.Response:
        return web.Response(body=content)

    async with serving(web.get("/files/f1", file)) as fleet:
        good = wire.RunOutput(
            node_id="5", kind="images", name="../../a b.png", url="/files/f1", size=7,
            sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip
        path = await fleet.runs.download(good, tmp_path)
        assert path == tmp_path / "a b.png"
        assert path.read_bytes() == content
        bad = wire.RunOutput(node_id="5", kind="images", name="bad.png", url="/files/f1", sha256="00")
        with pytest.raises(BadDownload):
            await fleet.runs.download(bad, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["a b.png"]


@pytest.mark.parametrize(
    ("name", "safe"), [("../../etc/passwd", "passwd"), ("..", "output"), ("a\\b.png", "b.png"), ("x\0y.png", "x_y.png")]
)
async def test_names_stay_in_their_folder(name: str, safe: str) -> None:
    """A name from the server cannot lead out of the folder."""
    assert safe_name(name) == safe
