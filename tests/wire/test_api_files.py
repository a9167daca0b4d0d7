"""Uploads, signed downloads and agents' grants through the real server, on local disk."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest

from drivers.wire import MachineId
from orchestrator.store.db import Database
from orchestrator.store.fleet import beat
from orchestrator.store.ids import digest, uuid7

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


@pytest.fixture
async def db(orchestrator):
    """The orchestrator's own database."""
    database = await Database.open(orchestrator.database_url, max_size=2)
    yield database
    await database.close()


async def _upload(api: httpx.AsyncClient, data: bytes, name: str = "a.png", kind: str = "image/png") -> dict[str, Any]:
    answer = await api.post("/api/v1/files", files={"file": (name, data, kind)})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_upload_comes_back_byte_for_byte(api, nobody):
    """The signed URL needs no credential and carries the type, a validator and safe headers."""
    file = await _upload(api, PNG)
    assert file["sha256"] == hashlib.sha256(PNG).hexdigest()
    answer = await nobody.get(file["url"])
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"].startswith("inline")
    same = await nobody.get(file["url"], headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    head = await nobody.head(file["url"])
    assert (head.headers["content-length"], head.content) == (str(len(PNG)), b"")


async def test_a_large_upload_is_streamed_and_the_same_content_kept_once(api, nobody, orchestrator):
    """3 MB arrive whole; a second upload under another name shares the bytes on disk."""
    data = secrets.token_bytes(3_000_000)
    first = await _upload(api, data, "one.bin", "application/octet-stream")
    second = await _upload(api, data, "two.bin", "application/octet-stream")
    assert first["id"] != second["id"]
    assert (await nobody.get(second["url"])).content == data
    assert len(list((orchestrator.data / "files").rglob(first["sha256"]))) == 1
    assert list((orchestrator.data / "files" / "drafts").iterdir()) == []


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-20", 206, slice(-20, None)),
        ("bytes=5-999999", 206, slice(5, None)),
        ("bytes=0-1,3-4", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
async def test_a_range_gives_its_part(api, nobody, header, status, expected):
    """One range of bytes is a 206 with just these; anything else is the whole file."""
    file = await _upload(api, PNG)
    answer = await nobody.get(file["url"], headers={"Range": header})
    assert (answer.status_code, answer.content) == (status, PNG[expected])


async def test_a_range_outside_the_file_is_a_416(api, nobody):
    """The problem says how long the file is."""
    file = await _upload(api, PNG)
    answer = await nobody.get(file["url"], headers={"Range": f"bytes={len(PNG)}-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")


async def test_a_changed_url_is_refused(api, nobody):
    """Another file's id, another name, a later end or another signature: 403; without a signature: 422."""
    one, two = await _upload(api, PNG), await _upload(api, b"other")
    url = one["url"]
    changed = [
        url.replace(one["id"], two["id"]),
        url.replace("a.png", "b.html"),
        url.replace("expires=", "expires=9"),
        url[:-4] + ("AAAA" if url[-4:] != "AAAA" else "BBBB"),
    ]
    for forged in changed:
        answer = await nobody.get(forged)
        assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature")
    assert (await nobody.get(url.partition("?")[0])).status_code == 422


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("..", "file"),
        ("x" * 400 + ".png", None),
        ("photo é 照片.png", "photo é 照片.png"),
    ],
)
async def test_tricks_in_names_are_taken_out(api, nobody, given, kept):
    """Folders, control characters and endless names do not survive; ordinary ones do, and the URL works."""
    file = await _upload(api, PNG, given)
    assert kept is None or file["name"] == kept
    assert "/" not in file["name"]
    assert len(file["name"]) <= 180
    assert (await nobody.get(file["url"])).status_code == 200


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "application/javascript"])
async def test_what_a_browser_would_run_is_an_attachment(api, nobody, kind):
    """HTML, SVG and scripts are never shown in place."""
    file = await _upload(api, b"<script>alert(1)</script>", "x", kind)
    answer = await nobody.get(file["url"])
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_bad_uploads_are_refused_and_leave_nothing(api, orchestrator):
    """Too large, not multipart, no boundary, no part named file, cut off: each a 4xx, no draft left."""
    large = await api.post("/api/v1/files", files={"file": ("x", b"x" * 4_200_000)})
    assert (large.status_code, large.json()["code"]) == (413, "too_large")

    async def flood():
        for _ in range(6):
            yield b"--b\r\nContent-Disposition: form-data; name=other\r\n\r\n" + b"y" * 1_000_000 + b"\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    cases = [
        (await api.post("/api/v1/files", json={}), "unsupported_content_type"),
        (await api.post("/api/v1/files", content=b"x", headers={"Content-Type": "multipart/form-data"}), None),
        (await api.post("/api/v1/files", content=b"--b\r\nnonsense", headers=kind), "malformed_multipart"),
        (await api.post("/api/v1/files", files={"other": b"x"}), "invalid"),
        (await api.post("/api/v1/files", content=b"", headers=kind), "malformed_multipart"),
    ]
    for answer, code in cases:
        assert 400 <= answer.status_code < 500, answer.text
        assert code is None or answer.json()["code"] == code
    assert list((orchestrator.data / "files" / "drafts").iterdir()) == []


# Grants


async def _attempt(api: httpx.AsyncClient, db: Database) -> tuple[UUID, UUID, str]:
    """A run held by an open attempt, laid down in SQL: (run id, attempt id, the attempt's token)."""
    me = (await api.get("/api/v1/auth/me")).json()
    machine = (await api.post("/api/v1/machines", json={"name": f"m {uuid7()}"})).json()
    graph = {"1": {"class_type": "A", "inputs": {}}}
    workflow = (await api.post("/api/v1/workflows", json={"name": "w", "api_graph": graph})).json()
    run_id, attempt_id, token = uuid7(), uuid7(), secrets.token_hex(16)
    await beat(db, {MachineId(UUID(machine["id"])): 1}, 3600.0)  # a machine never seen loses its runs
    await db.execute(
        """
        insert into runs (id, organisation_id, workflow_id, version_id, status, lane, attempt_id, attempts, machine_id)
        values ($1, $2, $3, $4, 'queued', 1, $5, 1, $6)
        """,
        run_id,
        me["organisation_id"],
        workflow["id"],
        workflow["version"]["id"],
        attempt_id,
        machine["id"],
    )
    await db.execute(
        """
        insert into attempts (id, run_id, organisation_id, number, machine_id, token_hash, claim_until)
        values ($1, $2, $3, 1, $4, $5, now() + interval '1 hour')
        """,
        attempt_id,
        run_id,
        me["organisation_id"],
        machine["id"],
        digest(token),
    )
    return run_id, attempt_id, token


def _asking(attempt_id: UUID, data: bytes, **more: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    asked = {"attempt_id": str(attempt_id), "name": "out.png", "content_type": "image/png", "size": len(data)}
    return asked | {"sha256": sha256} | more


async def test_a_grant_takes_exactly_the_announced_bytes(api, nobody, db):
    """PUT, PUT again, and a second grant for the same bytes that needs no sending."""
    _, attempt_id, token = await _attempt(api, db)
    data = secrets.token_bytes(200_000)
    headers = {"Authorization": f"Bearer {token}"}
    grant = (await nobody.post("/api/upload-grants", json=_asking(attempt_id, data), headers=headers)).json()
    for content, code in ((data[:-1], "wrong_size"), (data[:-1] + b"?", "wrong_sha256"), (data + b"x", "too_large")):
        refused = await nobody.put(grant["url"], content=content)
        assert 400 <= refused.status_code < 500
        assert refused.json()["code"] == code
    assert (await api.get(f"/api/v1/files/{grant['file_id']}")).status_code == 404
    assert (await nobody.put(grant["url"], content=data)).status_code == 204
    assert (await nobody.put(grant["url"], content=data)).status_code == 204
    file = (await api.get(f"/api/v1/files/{grant['file_id']}")).json()
    assert (await nobody.get(file["url"])).content == data
    again = (await nobody.post("/api/upload-grants", json=_asking(attempt_id, data), headers=headers)).json()
    assert "url" not in again
    assert again["file_id"] != grant["file_id"]


async def test_a_superseded_attempt_can_neither_ask_nor_send(api, nobody, db):
    """Once another attempt holds the run, grants and uploads answer 409 stale_attempt."""
    run_id, attempt_id, token = await _attempt(api, db)
    headers = {"Authorization": f"Bearer {token}"}
    data = secrets.token_bytes(100)
    grant = (await nobody.post("/api/upload-grants", json=_asking(attempt_id, data), headers=headers)).json()
    await db.execute("update runs set attempt_id = $2 where id = $1", run_id, uuid7())
    for answer in (
        await nobody.put(grant["url"], content=data),
        await nobody.post("/api/upload-grants", json=_asking(attempt_id, data), headers=headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")


async def test_bad_grant_requests_are_refused(api, nobody, db):
    """A wrong token, another attempt's, no token, a bad hash, a negative or too large size, a trick in the name."""
    _, attempt_id, token = await _attempt(api, db)
    headers = {"Authorization": f"Bearer {token}"}

    async def ask(status: int, asked: dict[str, Any], sent: dict[str, str] = headers) -> None:
        answer = await nobody.post("/api/upload-grants", json=asked, headers=sent)
        assert answer.status_code == status, answer.text

    await ask(401, _asking(attempt_id, b"x"), {"Authorization": "Bearer wrong"})
    await ask(401, _asking(attempt_id, b"x"), {})
    await ask(401, _asking(uuid7(), b"x"))
    await ask(401, _asking(attempt_id, b"x") | {"attempt_id": "../x"})
    await ask(422, _asking(attempt_id, b"x", sha256="zz"))
    await ask(422, _asking(attempt_id, b"x", size=-1))
    await ask(422, _asking(attempt_id, b"x", size="1"))
    await ask(413, _asking(attempt_id, b"x", size=10**12))
    named = await nobody.post(
        "/api/upload-grants", json=_asking(attempt_id, b"x", name=quote("../") + "../../a.png"), headers=headers
    )
    row = await db.fetchrow("select name from files where id = $1", named.json()["file_id"])
    assert row["name"] == "a.png"
