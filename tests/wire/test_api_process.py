"""The process itself: how it starts, what it tells once, how it ends, what it says when the database is away."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from orchestrator.store.embedded import EmbeddedPostgres
from tests.wire.conftest import ROOT, START_S, start_orchestrator

pytestmark = pytest.mark.anyio


async def test_credentials_are_told_once_and_kept(database_url, tmp_path):
    """A second start leaves up.json alone, and the first key still works."""
    first = start_orchestrator(tmp_path, database_url)
    before = (tmp_path / "up.json").read_bytes()
    assert first.stop() == 0
    second = start_orchestrator(tmp_path, database_url)
    try:
        assert (tmp_path / "up.json").read_bytes() == before
        assert httpx.get(f"{second.url}/api/v1/auth/me", headers=second.headers).status_code == 200
    finally:
        second.stop()


async def test_the_first_admin_can_be_given(database_url, tmp_path):
    """FLEET_ADMIN_EMAIL and FLEET_ADMIN_PASSWORD are what logs in."""
    running = start_orchestrator(tmp_path, database_url, admin_email="Me@Example.org", admin_password="correct horse")
    try:
        body = {"email": "me@example.org", "password": "correct horse"}
        assert httpx.post(f"{running.url}/api/v1/auth/login", json=body).status_code == 200
    finally:
        running.stop()


async def test_two_replicas_start_on_an_empty_database_at_once(empty_database_url, tmp_path):
    """Both migrate, one makes the first admin, both serve."""
    command = [sys.executable, "-m", "orchestrator", "serve", "--port", "0", "--database-url", empty_database_url]
    folders = [tmp_path / "one", tmp_path / "two"]
    replicas = [
        subprocess.Popen(
            ["env", "FLEET_SECRET=shared", *command, "--data", folder, "--port-file", tmp_path / f"{folder.name}.port"],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        for folder in folders
    ]
    try:
        deadline = time.monotonic() + START_S
        while not all((tmp_path / f"{folder.name}.port").exists() for folder in folders):
            assert time.monotonic() < deadline
            assert all(replica.poll() is None for replica in replicas)
            time.sleep(0.05)
        told = [folder / "up.json" for folder in folders if (folder / "up.json").exists()]
        assert len(told) == 1
        key = json.loads(told[0].read_bytes())["api_key"]
        for folder in folders:
            url = f"http://127.0.0.1:{(tmp_path / f'{folder.name}.port').read_text().strip()}"
            assert httpx.get(f"{url}/health/ready").status_code == 200
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{url}/api/v1/machines", headers=headers).status_code == 200
    finally:
        for replica in replicas:
            replica.terminate()
        ended = [replica.wait(15) for replica in replicas]
    assert ended == [0, 0]


async def test_sigterm_ends_it_within_seconds(database_url, tmp_path):
    """Idle keep-alive connections do not hold it."""
    running = start_orchestrator(tmp_path, database_url)
    async with httpx.AsyncClient(base_url=running.url) as client:
        await client.get("/health/live")
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 6


@pytest.fixture
async def own_server():
    """A database server that a test may stop and start."""
    with tempfile.TemporaryDirectory(prefix="comfyfleet-test-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder), durable=False)
        yield server
        await server.stop()


async def test_a_database_that_goes_away_is_a_503_and_comes_back(own_server, tmp_path):
    """While the database is down, answers say when to come again; afterwards all is well."""
    running = start_orchestrator(tmp_path, await own_server.start())
    try:
        async with httpx.AsyncClient(base_url=running.url, headers=running.headers, timeout=30) as client:
            await own_server.stop()
            answer = await client.get("/api/v1/machines")
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "database_unavailable"
            assert int(answer.headers["retry-after"]) >= 1
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/health/ready")).status_code == 503
            await own_server.start()
            deadline = time.monotonic() + 15
            while (await client.get("/api/v1/machines")).status_code != 200:
                assert time.monotonic() < deadline
    finally:
        running.stop()


async def test_the_openapi_document_is_whole(orchestrator, api):
    """OpenAPI 3.1; every operation has an id of its own, a summary, a tag and problem+json for its errors."""
    answer = await api.get("/openapi.json")
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    seen: set[str] = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method not in ("get", "post", "put", "patch", "delete"):
                continue
            assert operation["operationId"] not in seen, path
            seen.add(operation["operationId"])
            assert operation.get("summary"), path
            assert operation.get("tags"), path
            for status, response in operation["responses"].items():
                if status.startswith("4") and "content" in response:
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
    assert {"login", "create_machine", "create_run", "upload_file", "grant_upload"} <= seen
