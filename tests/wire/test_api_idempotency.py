"""Idempotency-Key against the real server: what makes something makes it once, however often it is asked for."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.system import coloured

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def deployment(orchestrator) -> str:
    """A deployment that takes a colour."""
    with httpx.Client(base_url=orchestrator.url, headers=orchestrator.headers, timeout=20) as client:
        made = client.post("/api/v1/workflows", json={"name": "colour", "api_graph": coloured()}).json()
        return client.post("/api/v1/deployments", json={"version_id": made["version"]["id"]}).json()["id"]


async def _start(api: httpx.AsyncClient, key: str, body: dict[str, Any]) -> httpx.Response:
    return await api.post("/api/v1/runs", json=body, headers={"Idempotency-Key": key})


async def _count(api: httpx.AsyncClient) -> int:
    return len((await api.get("/api/v1/runs", params={"limit": 100})).json()["items"])


async def test_a_run_sent_two_hundred_times_at_once_is_one_run(api, deployment):
    """All answers name the same run; one of them is not marked as a repetition."""
    before = await _count(api)
    body = {"deployment_id": deployment, "inputs": {"colour": 1}}
    answers = await asyncio.gather(*(_start(api, "two hundred", body) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    replayed = sorted(answer.headers.get("idempotency-replayed", "first") for answer in answers)
    assert replayed == ["first"] + ["true"] * 199
    assert await _count(api) == before + 1


async def test_another_body_under_the_same_key_is_refused(api, deployment):
    """422, and the key still stands for the first run; so it does when the second body is not even valid."""
    first = await _start(api, "reused", {"deployment_id": deployment, "inputs": {"colour": 1}})
    for inputs in ({"colour": 2}, {"colour": "red"}):
        other = await _start(api, "reused", {"deployment_id": deployment, "inputs": inputs})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reuse")
    again = await _start(api, "reused", {"deployment_id": deployment, "inputs": {"colour": 1}})
    assert again.json() == first.json()


async def test_a_refused_run_leaves_its_key_free(api, deployment):
    """After a 422 the corrected body may go under the same key."""
    refused = await _start(api, "corrected", {"deployment_id": deployment, "inputs": {"color": 1}})
    assert refused.status_code == 422
    corrected = await _start(api, "corrected", {"deployment_id": deployment, "inputs": {"colour": 1}})
    assert (corrected.status_code, corrected.headers.get("idempotency-replayed")) == (202, None)


async def test_a_run_that_a_quota_refuses_leaves_its_key_free(api, deployment):
    """Refused with 429, the same request counts once there is room."""
    body = {"deployment_id": deployment, "inputs": {"colour": 7}}
    await api.put("/api/v1/usage/quotas", json={"max_queued_runs": 1})
    try:
        await _start(api, "fills the room", body)
        refused = await _start(api, "no room", body)
    finally:
        await api.put("/api/v1/usage/quotas", json={})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    made = await _start(api, "no room", body)
    assert (made.status_code, made.headers.get("idempotency-replayed")) == (202, None)


async def test_a_key_is_forgotten_after_a_day(api, orchestrator, deployment):
    """It stands for 24 hours from its first use; then the same request is a new one, with whatever body."""
    body = {"deployment_id": deployment, "inputs": {"colour": 1}}
    first = (await _start(api, "a day", body)).json()["id"]
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        newest = "select max(expires_at - created_at) from idempotency_keys where run_id = $1"
        assert await connection.fetchval(newest, UUID(first)) == timedelta(days=1)
        await connection.execute("update idempotency_keys set expires_at = now() where run_id = $1", UUID(first))
    finally:
        await connection.close()
    again = await _start(api, "a day", {**body, "inputs": {"colour": 2}})
    assert (again.status_code, again.headers.get("idempotency-replayed")) == (202, None)
    assert again.json()["id"] != first


async def test_a_repetition_is_answered_although_the_deployment_is_gone(api):
    """What the run was checked against may change; the answer to its request does not."""
    made = (await api.post("/api/v1/workflows", json={"name": "short-lived", "api_graph": coloured()})).json()
    deployed = (await api.post("/api/v1/deployments", json={"version_id": made["version"]["id"]})).json()["id"]
    body = {"deployment_id": deployed, "inputs": {"colour": 3}}
    first = await _start(api, "outlives", body)
    await api.delete(f"/api/v1/deployments/{deployed}")
    again = await _start(api, "outlives", body)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"


async def test_two_credentials_may_use_the_same_key(api, orchestrator, deployment):
    """A key belongs to who sent it."""
    other = (await api.post("/api/v1/api-keys", json={"name": "other"})).json()["key"]
    body = {"deployment_id": deployment, "inputs": {"colour": 1}}
    mine = await _start(api, "shared", body)
    async with httpx.AsyncClient(base_url=orchestrator.url, headers={"Authorization": f"Bearer {other}"}) as client:
        theirs = await _start(client, "shared", body)
    assert mine.status_code == theirs.status_code == 202
    assert mine.json()["id"] != theirs.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "ä".encode(), b"a\tb"])
async def test_a_key_that_is_no_key_is_refused(api, deployment, key):
    """Empty, too long or not printable: 400."""
    headers = {"Idempotency-Key": key}
    answer = await api.post("/api/v1/runs", json={"deployment_id": deployment}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")


async def _make(api: httpx.AsyncClient, key: str, path: str, body: dict[str, Any]) -> httpx.Response:
    return await api.post(f"/api/v1/{path}", json=body, headers={"Idempotency-Key": key})


async def test_anything_made_by_post_is_made_once(api):
    """Thirty equal requests make one API key: a 201, its repetitions word for word, or 409 while it is made."""
    answers = await asyncio.gather(*(_make(api, "make", "api-keys", {"name": "only one"}) for _ in range(30)))
    made = [answer for answer in answers if answer.status_code == 201]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(made) + len(waiting) == 30
    assert {answer.json()["code"] for answer in waiting} <= {"idempotency_in_flight"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in waiting)
    again = await _make(api, "make", "api-keys", {"name": "only one"})
    assert again.headers["idempotency-replayed"] == "true"
    assert {answer.text for answer in made} == {again.text}
    listed = (await api.get("/api/v1/api-keys", params={"limit": 100})).json()["items"]
    assert [item["name"] for item in listed].count("only one") == 1


async def test_a_kept_answer_is_encrypted(api, orchestrator):
    """The key that was answered stands nowhere in the database."""
    secret = (await _make(api, "sealed", "api-keys", {"name": "sealed"})).json()["key"]
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        answers = await connection.fetch("select answer from idempotency_keys where answer is not null")
    finally:
        await connection.close()
    assert answers
    assert all(secret.encode() not in row["answer"] for row in answers)


async def test_a_refusal_lets_the_key_go(api):
    """A 422 is not kept; the next body under the key counts."""
    refused = await _make(api, "let go", "workflows", {"name": ""})
    made = await _make(api, "let go", "workflows", {"name": "second"})
    reused = await _make(api, "let go", "workflows", {"name": "third"})
    assert [refused.status_code, made.status_code, reused.status_code] == [422, 201, 422]
    assert reused.json()["code"] == "idempotency_key_reuse"


async def test_a_key_left_by_a_dead_server_is_free_after_its_time(api, orchestrator):
    """In flight: 409 with Retry-After. Once its lock has run out, the request counts."""
    await _make(api, "left", "workflows", {"name": "left"})
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        await connection.execute(
            "update idempotency_keys set status = null, answer = null, locked_until = now() + interval '1 minute'"
            " where route = 'POST /api/v1/workflows'"
        )
        waiting = await _make(api, "left", "workflows", {"name": "left"})
        await connection.execute("update idempotency_keys set locked_until = now() where status is null")
    finally:
        await connection.close()
    made = await _make(api, "left", "workflows", {"name": "left"})
    assert (waiting.status_code, waiting.headers["retry-after"]) == (409, "1")
    assert (made.status_code, made.headers.get("idempotency-replayed")) == (201, None)


async def test_a_large_body_is_refused_before_it_is_hashed(api):
    """The limit of a body holds for requests with a key as well."""
    answer = await _make(api, "large", "workflows", {"name": "x" * 11_000_000})
    assert answer.status_code == 413
