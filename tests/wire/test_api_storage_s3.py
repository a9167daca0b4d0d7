"""Files in an S3-compatible bucket: a real server that checks signatures (`rclone serve s3`), a real orchestrator."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from orchestrator.config import Config
from orchestrator.files import Files
from orchestrator.store import files as rows
from orchestrator.store.ids import uuid7
from orchestrator.store.users import create_owner

pytestmark = pytest.mark.anyio

ACCESS, SECRET = "fleetaccess", "fleetsecret123"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A bucket named `fleet`: its endpoint, and its folder on disk."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "fleet").mkdir()
    port = _free_port()
    rclone = Path(sys.executable).with_name("rclone")
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}", folder]
    with (folder.parent / "rclone.log").open("wb") as log:
        server = subprocess.Popen(["env", "RCLONE_CONFIG=/dev/null", *command], stdout=log, stderr=log)
    try:
        _wait_for(port)
        yield SimpleNamespace(endpoint=f"http://127.0.0.1:{port}", folder=folder / "fleet")
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def settings(bucket: SimpleNamespace, tmp_path: Path) -> Config:
    """Settings that keep files in the bucket, under a prefix."""
    return Config(
        data=tmp_path,
        files_url="s3://fleet/some/prefix",
        files_endpoint=bucket.endpoint,
        files_access_key=ACCESS,
        files_secret_key=SECRET,
    )


@pytest.fixture
async def files(settings: Config) -> Files:
    """Files in the bucket."""
    opened = Files(settings, b"master")
    await opened.open()
    return opened


@pytest.fixture
async def organisation_id(db) -> str:
    """An organisation to own files."""
    async with db.transaction() as connection:
        made, _ = await create_owner(connection, "a@example.org", "-", "o")
    return made


def _granted(organisation_id: str, data: bytes, attempt_id: str, size: int | None = None) -> rows.NewFile:
    return rows.NewFile(
        organisation_id=organisation_id,
        purpose="output",
        name="a.png",
        content_type="image/png",
        size=len(data) if size is None else size,
        sha256=hashlib.sha256(data).digest(),
        stored=False,
        attempt_id=attempt_id,
    )


async def test_an_agent_puts_to_the_bucket_and_the_bytes_are_read_back(files, db, organisation_id, bucket):
    """A pre-signed PUT, confirmed by size and hash, then a pre-signed GET; a second confirm finds it stored."""
    data, attempt_id = secrets.token_bytes(300_000), str(uuid7())
    file = await rows.add(db, _granted(organisation_id, data, attempt_id))
    url = files.grant_url(file)
    assert await files.confirm(db, [file.id], attempt_id) == [file.id]
    async with httpx.AsyncClient() as client:
        assert (await client.put(url, content=data)).status_code == 200
        assert await files.confirm(db, [file.id], attempt_id) == []
        assert await files.confirm(db, [file.id], attempt_id) == []
        assert await files.confirm(db, [file.id], str(uuid7())) == [file.id]
        answer = await client.get(files.direct_url(file))
    assert answer.content == data
    kept = [path for path in bucket.folder.rglob("*") if path.is_file() and path.name == file.sha256.hex()]
    assert len(kept) == 1
    assert await files.already_stored(db, organisation_id, file.sha256, len(data))


async def test_other_bytes_than_announced_never_count(files, db, organisation_id):
    """Another content, or more of it: the file stays unconfirmed."""
    data, attempt_id = secrets.token_bytes(1000), str(uuid7())
    one = await rows.add(db, _granted(organisation_id, data, attempt_id))
    two = await rows.add(db, _granted(organisation_id, data, attempt_id))
    async with httpx.AsyncClient() as client:
        await client.put(files.grant_url(one), content=secrets.token_bytes(1000))
        await client.put(files.grant_url(two), content=data + b"more")
    assert await files.confirm(db, [one.id, two.id], attempt_id) == [one.id, two.id]
    assert not await files.already_stored(db, organisation_id, one.sha256, 1000)


async def test_a_tampered_url_is_refused_by_the_bucket(files, db, organisation_id):
    """Another key or another signature in a pre-signed URL is a 403, for PUT and GET."""
    data, attempt_id = b"content", str(uuid7())
    file = await rows.add(db, _granted(organisation_id, data, attempt_id))
    url = files.grant_url(file)
    async with httpx.AsyncClient() as client:
        assert (await client.put(url.replace(file.id, str(uuid7())), content=data)).status_code == 403
        assert (await client.put(url[:-4] + "0000", content=data)).status_code == 403
        assert (await client.put(url, content=data)).status_code == 200
        await files.confirm(db, [file.id], attempt_id)
        assert (await client.get(files.direct_url(file)[:-4] + "0000")).status_code == 403


async def test_a_bucket_that_is_away_is_unavailable_not_a_fault(settings, db, organisation_id, tmp_path):
    """Storage errors become a 503 problem."""
    from msgspec.structs import replace

    from orchestrator.errors import Unavailable

    away = Files(replace(settings, files_access_key="nobody"), b"master")
    await away.open()

    async def chunks():
        yield b"data"

    draft = await away.receive(chunks(), 100)
    with pytest.raises(Unavailable):
        await away.keep(organisation_id, draft, "text/plain")


async def test_content_is_removed_from_the_bucket(files, db, organisation_id, bucket):
    """Gone at once; what is not there is removed without a fault."""
    data, attempt_id = secrets.token_bytes(1000), str(uuid7())
    file = await rows.add(db, _granted(organisation_id, data, attempt_id))
    async with httpx.AsyncClient() as client:
        await client.put(files.grant_url(file), content=data)
    assert await files.confirm(db, [file.id], attempt_id) == []
    for _ in range(2):
        await files.forget_content(organisation_id, file.sha256)
        assert not await files.already_stored(db, organisation_id, file.sha256, len(data))


async def _send_to_the_bucket(running) -> None:
    """An announced upload goes straight to the bucket and counts once it is complete and right."""
    data = os.urandom(50_000)
    body = {"name": "b.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    async with (
        httpx.AsyncClient(base_url=running.url, headers=running.headers) as api,
        httpx.AsyncClient() as nobody,
    ):
        made = (await api.post("/api/v1/files/uploads", json=body)).json()
        complete = f"/api/v1/files/uploads/{made['file_id']}/complete"
        assert (await nobody.put(made["url"], content=os.urandom(50_000))).status_code == 200
        wrong = await api.post(complete)
        assert (wrong.status_code, wrong.json()["code"]) == (409, "upload_incomplete")
        assert (await nobody.put(made["url"], content=data)).status_code == 200
        done = (await api.post(complete)).json()
        first = await nobody.get(done["url"])
        assert (await nobody.get(first.headers["location"])).content == data


async def test_the_orchestrator_redirects_downloads_to_the_bucket(bucket, database_url, tmp_path):
    """Upload through the API, then follow its signed URL: a 307 to the bucket, and the same bytes; uploads likewise."""
    from tests.wire.conftest import start_orchestrator

    running = start_orchestrator(
        tmp_path,
        database_url,
        files_url="s3://fleet",
        files_endpoint=bucket.endpoint,
        files_access_key=ACCESS,
        files_secret_key=SECRET,
    )
    data = os.urandom(100_000)
    try:
        async with httpx.AsyncClient(base_url=running.url, headers=running.headers) as api:
            file = (await api.post("/api/v1/files", files={"file": ("a.png", data, "image/png")})).json()
        async with httpx.AsyncClient() as nobody:
            first = await nobody.get(file["url"])
            assert first.status_code == 307
            assert (await nobody.get(first.headers["location"])).content == data
        await _send_to_the_bucket(running)
    finally:
        assert running.stop() == 0
