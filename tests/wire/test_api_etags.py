"""ETags of what people change: 304 to who has seen it, 412 to who has not, one winner among those who saw the same."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from tests.system import coloured

pytestmark = pytest.mark.anyio
CHANGES: dict[str, list[dict[str, Any]]] = {
    "workflows": [{"name": "one"}, {"name": "two"}],
    "deployments": [{"description": "one"}, {"description": "two"}],
    "machines": [{"labels": {"gpu": "1"}}, {"policy": {"max_run_s": 60}}],
    "webhooks": [{"events": ["run.failed"]}, {"url": "http://127.0.0.1:9/other"}],
    "members": [{"role": "developer"}, {"role": "viewer"}],
    "runs": [{"favourite": True}, {"tags": ["one"]}],
    "organisation": [{"name": "One"}, {"node_policy": {"deny": ["Evil"]}}],
}
"""Two changes of each resource, neither of which leaves it as it was."""
DELETED = ("workflows", "deployments", "machines", "webhooks", "members", "api-keys")


async def _thing(api: httpx.AsyncClient, nobody: httpx.AsyncClient, kind: str) -> str:
    """The path of a new one."""
    name = f"etag-{uuid.uuid4().hex[:8]}"
    if kind == "organisation":
        return "/api/v1/organisation"
    if kind == "members":
        return await _member(api, nobody, f"{name}@example.org")
    bodies: dict[str, dict[str, Any]] = {
        "machines": {"name": name},
        "webhooks": {"url": f"http://127.0.0.1:9/{name}"},
        "api-keys": {"name": name},
        "workflows": {"name": name, "api_graph": coloured()},
    }
    if kind not in bodies:
        workflow = (await api.post("/api/v1/workflows", json=bodies["workflows"])).json()
        bodies["deployments"] = {"version_id": workflow["version"]["id"]}
        bodies["runs"] = {"version_id": workflow["version"]["id"], "inputs": {"colour": 1}}
    made = await api.post(f"/api/v1/{kind}", json=bodies[kind])
    assert made.is_success, made.text
    return f"/api/v1/{kind}/{made.json()['id']}"


async def _member(api: httpx.AsyncClient, nobody: httpx.AsyncClient, email: str) -> str:
    invited = (await api.post("/api/v1/invitations", json={"email": email, "role": "viewer"})).json()
    body = {"token": invited["token"], "password": "a long password"}
    token = (await nobody.post("/api/v1/auth/accept-invitation", json=body)).json()["access_token"]
    me = (await nobody.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})).json()
    return f"/api/v1/members/{me['user_id']}"


async def _etag(api: httpx.AsyncClient, path: str) -> str:
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


@pytest.mark.parametrize("kind", [*CHANGES, "api-keys"])
async def test_what_was_seen_is_not_sent_again(api, nobody, kind):
    """304 without a body to the ETag alone, among others or marked weak; 200 to any other, and to nonsense."""
    path = await _thing(api, nobody, kind)
    etag = await _etag(api, path)
    for seen in (etag, f'"other", W/{etag}', "*"):
        answer = await api.get(path, headers={"If-None-Match": seen})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag), seen
    for seen in ('"1"', '"other"', "nonsense", etag.strip('"')):
        assert (await api.get(path, headers={"If-None-Match": seen})).status_code == 200, seen


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_change_is_made_to_what_was_seen_only(api, nobody, kind):
    """Made with the present ETag, refused with the one before; each change gives a new one, and 304 ends."""
    path = await _thing(api, nobody, kind)
    first, (one, two) = await _etag(api, path), CHANGES[kind]
    made = await api.patch(path, json=one, headers={"If-Match": first})
    assert made.status_code == 200, made.text
    assert made.headers["etag"] != first
    late = await api.patch(path, json=two, headers={"If-Match": first})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await api.get(path, headers={"If-None-Match": first})).status_code == 200
    for careless in ({}, {"If-Match": "*"}):
        assert (await api.patch(path, json=two, headers=careless)).status_code == 200
    wrong = await api.patch(path, json=one, headers={"If-Match": "nonsense"})
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "If-Match")


@pytest.mark.parametrize("kind", CHANGES)
async def test_of_two_who_saw_the_same_one_wins(api, nobody, kind):
    """Eight changes at once under one ETag: one is made."""
    path = await _thing(api, nobody, kind)
    seen, change = {"If-Match": await _etag(api, path)}, CHANGES[kind][0]
    if kind == "organisation":
        change = {"name": uuid.uuid4().hex}
    answers = await asyncio.gather(*(api.patch(path, json=change, headers=seen) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


@pytest.mark.parametrize("kind", DELETED)
async def test_only_what_was_seen_is_deleted(api, nobody, kind):
    """Refused with the ETag from before a change, done with the one from after."""
    path = await _thing(api, nobody, kind)
    before = await _etag(api, path)
    if kind == "api-keys":
        changed = await api.post(f"{path}/rotate", json={}, headers={"If-Match": before})
        assert (await api.post(f"{path}/rotate", json={}, headers={"If-Match": before})).status_code == 412
    else:
        changed = await api.patch(path, json=CHANGES[kind][0])
    assert changed.status_code == 200, changed.text
    assert (await api.delete(path, headers={"If-Match": before})).status_code == 412
    assert (await api.delete(path, headers={"If-Match": await _etag(api, path)})).status_code == 204


async def test_what_time_changes_is_shown_but_refuses_nothing(api, nobody, orchestrator):
    """A key was used: it is sent again, its revision stays. A machine was drained by somebody: its revision rises."""
    key = await _thing(api, nobody, "api-keys")
    seen = await _etag(api, key)
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        used = "update api_keys set last_used_at = now() where id = $1"
        await connection.execute(used, uuid.UUID(key.rpartition("/")[2]))
    finally:
        await connection.close()
    assert (await api.get(key, headers={"If-None-Match": seen})).status_code == 200
    assert (await api.post(f"{key}/rotate", json={}, headers={"If-Match": seen})).status_code == 200
    machine = await _thing(api, nobody, "machines")
    seen = await _etag(api, machine)
    await api.post(f"{machine}/drain")
    assert (await api.patch(machine, json={"name": "x"}, headers={"If-Match": seen})).status_code == 412


async def test_nothing_of_another_organisation_is_told_by_an_etag(api):
    """What is not there is 404 under any ETag."""
    for kind in (*DELETED, "runs"):
        path = f"/api/v1/{kind}/{uuid.uuid4()}"
        for headers in ({"If-Match": '"1"'}, {"If-Match": "*"}):
            gone = await api.delete(path, headers=headers) if kind != "runs" else await api.patch(path, json={})
            assert gone.status_code == 404, (kind, gone.text)
        assert (await api.get(path, headers={"If-None-Match": "*"})).status_code == 404
