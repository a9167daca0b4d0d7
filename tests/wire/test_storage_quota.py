"""A full storage refuses uploads in every dialect, in its own words; and nothing of what was refused stays behind."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from blake3 import blake3

from tests.wire.conftest import Orchestrator

pytestmark = pytest.mark.anyio
ROOM = 10
"""So many bytes more than is stored now the quota leaves."""


@pytest.fixture
async def stored(api: httpx.AsyncClient) -> bytes:
    """A content that is there before the quota is set, in every dialect's way."""
    content = b"stored before " + uuid4().bytes
    answer = await api.post("/api/v2/assets", data={"file_path": "before"}, files={"file": ("before", content)})
    assert answer.status_code == 201, answer.text
    return content


@pytest.fixture
async def full(api: httpx.AsyncClient, stored: bytes, orchestrator: Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an organisation whose quota leaves ROOM bytes; afterwards nothing more may be stored or lie about."""
    used = (await api.get("/api/v1/usage")).json()["storage"]["bytes"]
    kept = _files(orchestrator.data)
    await api.put("/api/v1/usage/quotas", json={"max_storage_bytes": used + ROOM})
    try:
        yield api
        assert (await api.get("/api/v1/usage")).json()["storage"]["bytes"] == used
        assert _files(orchestrator.data) == kept
    finally:
        await api.put("/api/v1/usage/quotas", json={})


def _files(data: Path) -> set[Path]:
    return {path for path in (data / "files").rglob("*") if path.is_file()}


async def test_the_native_api_names_the_quota(full: httpx.AsyncClient, stored: bytes) -> None:
    """403 with the quota in the errors, for bytes that are sent, announced, or named by their hash."""
    known = {"name": "x", "size": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}
    for answer in (
        await full.post("/api/v1/files", files={"file": ("a", b"more than ten", "text/plain")}),
        await full.post("/api/v1/files/uploads", json={**known, "sha256": "0" * 64}),
        await full.post("/api/v1/files/by-hash", json=known),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "quota_exceeded"), answer.text
        assert answer.json()["errors"][0]["path"] == "max_storage_bytes"


async def test_comfydeploy_s_api_says_why(full: httpx.AsyncClient) -> None:
    """Its words for an error, where a picture's address is asked for and where a form is sent."""
    for answer in (
        await full.get("/api/upload-url", params={"type": "image/png", "file_size": ROOM + 1}),
        await full.post("/api/file/upload", files={"file": ("a.png", b"more than ten", "image/png")}),
    ):
        body = answer.json()
        assert (answer.status_code, body["code"]) == (403, "quota_exceeded"), answer.text
        assert "max_storage_bytes" in body["error"]
        assert body["error"] == body["message"]


async def test_an_address_gives_no_more_than_was_asked_for(full: httpx.AsyncClient, nobody: httpx.AsyncClient) -> None:
    """A picture that is larger than was said is refused when it arrives."""
    answer = await full.get("/api/upload-url", params={"type": "image/png", "file_size": ROOM})
    address = urlsplit(answer.json()["upload_url"])
    refused = await nobody.put(f"{address.path}?{address.query}", content=b"more than ten")
    assert (refused.status_code, refused.json()["code"]) == (403, "quota_exceeded")


async def test_comfy_s_api_v2_calls_it_too_large(full: httpx.AsyncClient, stored: bytes) -> None:
    """413 `payload_too_large` in its envelope, for bytes and for a content that is there; the same asset is no more."""
    named = {"hash": f"blake3:{blake3(stored).hexdigest()}", "tags": []}
    for answer in (
        await full.post("/api/v2/assets", files={"file": ("a", b"more than ten")}),
        await full.post("/api/v2/assets/from-hash", json={**named, "file_path": "elsewhere"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large"), answer.text
    same = await full.post("/api/v2/assets/from-hash", json={**named, "file_path": "before"})
    assert same.status_code == 200, same.text


@pytest.mark.parametrize("prefix", ["/comfy", "/comfy/api"])
async def test_the_comfyui_server_refuses_too(full: httpx.AsyncClient, prefix: str) -> None:
    """Pictures and masks."""
    for path in ("/upload/image", "/upload/mask"):
        answer = await full.post(f"{prefix}{path}", files={"image": ("a.png", b"more than ten", "image/png")})
        assert (answer.status_code, answer.json()["code"]) == (403, "quota_exceeded"), answer.text


async def test_a_full_queue_is_that_of_comfy_s_api_v2(api: httpx.AsyncClient) -> None:
    """429 `queue_full` with the time to wait, which its SDK understands."""
    graph: dict[str, Any] = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1}}}
    graph["2"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    await api.put("/api/v1/usage/quotas", json={"max_queued_runs": 0})
    try:
        answer = await api.post("/api/v2/jobs", json={"workflow": graph})
    finally:
        await api.put("/api/v1/usage/quotas", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full"), answer.text
    assert int(answer.headers["retry-after"]) >= 1


async def test_what_fits_is_kept_and_deleting_makes_room(api: httpx.AsyncClient) -> None:
    """To the last byte, again and again."""
    used = (await api.get("/api/v1/usage")).json()["storage"]["bytes"]
    await api.put("/api/v1/usage/quotas", json={"max_storage_bytes": used + 4})
    try:
        for _ in range(2):
            kept = await api.post("/api/v1/files", files={"file": ("a", b"fits", "text/plain")})
            assert kept.status_code == 201, kept.text
            more = await api.post("/api/v1/files", files={"file": ("b", b"1", "text/plain")})
            assert more.status_code == 403
            assert (await api.delete(f"/api/v1/files/{kept.json()['id']}")).status_code == 204
    finally:
        await api.put("/api/v1/usage/quotas", json={})
