"""Members, invitations, logins, the organisation, its secrets and its audit log, against the real server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg
import httpx
import pytest

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse"
_numbers = count(1)


async def _invite(api: httpx.AsyncClient, role: str = "developer") -> dict[str, Any]:
    body = {"email": f"Member{next(_numbers)}@Example.org", "role": role}
    answer = await api.post("/api/v1/invitations", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _accept(nobody: httpx.AsyncClient, token: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    return await nobody.post("/api/v1/auth/accept-invitation", json={"token": token, "password": password, **more})


@asynccontextmanager
async def _as(orchestrator: Any, token: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=f"{orchestrator.url}/api/v1", headers=headers, timeout=20) as client:
        yield client


async def _joined(api: httpx.AsyncClient, nobody: httpx.AsyncClient, role: str = "developer") -> tuple[str, str, str]:
    """(user id, e-mail address, access token) of a new member."""
    invitation = await _invite(api, role)
    tokens = (await _accept(nobody, invitation["token"])).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = (await nobody.get("/api/v1/auth/me", headers=headers)).json()
    return me["user_id"], me["email"], tokens["access_token"]


async def _login(nobody: httpx.AsyncClient, email: str, password: str = PASSWORD) -> httpx.Response:
    return await nobody.post("/api/v1/auth/login", json={"email": email, "password": password})


async def test_an_invitation_makes_a_member_once(api, nobody):
    """The token sets a password and opens a login; used again it is gone. The address is kept in lower case."""
    invitation = await _invite(api, "viewer")
    assert invitation["email"] == invitation["email"].lower()
    joined = await _accept(nobody, invitation["token"], name="New Person")
    assert joined.status_code == 200, joined.text
    assert (await _accept(nobody, invitation["token"])).json()["code"] == "invitation_gone"
    listed = (await api.get("/api/v1/members", params={"limit": 100})).json()["items"]
    member = next(item for item in listed if item["email"] == invitation["email"])
    assert (member["role"], member["name"]) == ("viewer", "New Person")
    assert (await api.get(f"/api/v1/members/{member['id']}")).json() == member
    assert (await _login(nobody, invitation["email"])).status_code == 200
    shown = (await api.get("/api/v1/invitations")).json()["items"][0]
    assert "token" not in shown
    assert "accepted_at" in shown


async def test_an_invitation_can_be_revoked_and_replaced(api, nobody):
    """Of two for one address only the newer works; a revoked and an unknown one do not."""
    first = await _invite(api)
    second = (await api.post("/api/v1/invitations", json={"email": first["email"], "role": "viewer"})).json()
    assert (await api.delete(f"/api/v1/invitations/{second['id']}")).status_code == 204
    assert (await api.delete(f"/api/v1/invitations/{uuid.uuid4()}")).status_code == 404
    for token in (first["token"], second["token"], "cfi_unknown"):
        answer = await _accept(nobody, token)
        assert (answer.status_code, answer.json()["code"]) == (410, "invitation_gone")


async def test_short_passwords_and_members_are_not_taken(api, nobody):
    """A new password has ten characters; who is a member is not invited again; the invitation still stands."""
    invitation = await _invite(api)
    short = await _accept(nobody, invitation["token"], "short")
    assert (short.status_code, short.json()["errors"][0]["path"]) == (422, "password")
    assert (await _accept(nobody, invitation["token"])).status_code == 200
    again = await api.post("/api/v1/invitations", json={"email": invitation["email"]})
    assert (again.status_code, again.json()["code"]) == (409, "already_member")


async def test_who_has_an_account_joins_by_their_own_password(api, nobody, orchestrator):
    """A user of another organisation must prove to be that user; the invitation cannot change their password."""
    invitation = await _invite(api)
    await _accept(nobody, invitation["token"])
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        await connection.execute(
            "delete from memberships using users u where u.id = user_id and u.email = $1", invitation["email"]
        )
    finally:
        await connection.close()
    second = (await api.post("/api/v1/invitations", json={"email": invitation["email"]})).json()
    wrong = await _accept(nobody, second["token"], "another password")
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_login")
    assert (await _accept(nobody, second["token"])).status_code == 200


async def test_a_role_changes_at_once_for_logins_and_keys(api, nobody, orchestrator):
    """Demoted to viewer, neither the login nor a developer's key that the member made changes anything more."""
    user_id, _, access = await _joined(api, nobody)
    async with _as(orchestrator, access) as client:
        key = (await client.post("/api-keys", json={"name": "mine"})).json()["key"]
        assert (await client.post("/workflows", json={"name": "x"})).status_code == 201
    async with _as(orchestrator, key) as client:
        assert (await client.post("/workflows", json={"name": "x"})).status_code == 201
    changed = await api.patch(f"/api/v1/members/{user_id}", json={"role": "viewer"})
    assert changed.json()["role"] == "viewer"
    for credential in (access, key):
        async with _as(orchestrator, credential) as client:
            assert (await client.post("/workflows", json={"name": "x"})).status_code == 403
            assert (await client.get("/workflows")).status_code == 200


@pytest.mark.parametrize("keep", [False, True])
async def test_a_removed_member_is_out_at_once(api, nobody, orchestrator, keep):
    """Logins end; keys end too unless they are kept; the password opens nothing any more."""
    user_id, email, access = await _joined(api, nobody)
    async with _as(orchestrator, access) as client:
        key = (await client.post("/api-keys", json={"name": "mine"})).json()["key"]
    removed = await api.delete(f"/api/v1/members/{user_id}", params={"keep_keys": keep})
    assert removed.status_code == 204
    async with _as(orchestrator, access) as client:
        assert (await client.get("/auth/me")).status_code == 401
    async with _as(orchestrator, key) as client:
        assert (await client.get("/workflows")).status_code == (200 if keep else 401)
    assert (await _login(nobody, email)).status_code == 401
    assert (await api.get(f"/api/v1/members/{user_id}")).status_code == 404


async def test_the_last_owner_stays(api):
    """Neither removed nor demoted; unknown members are 404."""
    me = (await api.get("/api/v1/auth/me")).json()["user_id"]
    for answer in (
        await api.delete(f"/api/v1/members/{me}"),
        await api.patch(f"/api/v1/members/{me}", json={"role": "admin"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert (await api.delete(f"/api/v1/members/{uuid.uuid4()}")).status_code == 404


async def test_an_admin_does_not_decide_about_owners(api, nobody, orchestrator):
    """Neither makes one, nor invites one, nor touches one, nor ends an owner's login."""
    owner_id, owner_email, _ = await _joined(api, nobody, "owner")
    developer_id, _, _ = await _joined(api, nobody)
    _, _, access = await _joined(api, nobody, "admin")
    assert (await _login(nobody, owner_email)).status_code == 200
    async with _as(orchestrator, access) as admin:
        logins = (await admin.get("/organisation/sessions", params={"limit": 100})).json()["items"]
        owners = next(login["id"] for login in logins if login["user_id"] == owner_id)
        refused = [
            await admin.patch(f"/members/{developer_id}", json={"role": "owner"}),
            await admin.post("/invitations", json={"email": "boss@example.org", "role": "owner"}),
            await admin.patch(f"/members/{owner_id}", json={"role": "viewer"}),
            await admin.delete(f"/members/{owner_id}"),
            await admin.delete(f"/organisation/sessions/{owners}"),
        ]
        allowed = await admin.patch(f"/members/{developer_id}", json={"role": "admin"})
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(403, "owner_decides")] * 5
    assert allowed.status_code == 200
    assert (await api.delete(f"/api/v1/members/{owner_id}")).status_code == 204


async def test_a_password_is_changed_by_who_knows_it(api, nobody, orchestrator):
    """A wrong one is refused; the right one ends all other logins, and only the new password opens one."""
    _, email, access = await _joined(api, nobody)
    other = (await _login(nobody, email)).json()["access_token"]
    async with _as(orchestrator, access) as client:
        body = {"current_password": "wrong password", "new_password": "battery staple"}
        assert (await client.post("/auth/password", json=body)).status_code == 401
        changed = await client.post("/auth/password", json={**body, "current_password": PASSWORD})
        assert changed.status_code == 204
        assert (await client.get("/auth/me")).status_code == 200
    async with _as(orchestrator, other) as client:
        assert (await client.get("/auth/me")).status_code == 401
    assert (await _login(nobody, email)).status_code == 401
    assert (await _login(nobody, email, "battery staple")).status_code == 200


async def test_logins_are_listed_and_ended(api, nobody, orchestrator):
    """My own by me, anybody's by an admin; another user's login is not mine to see."""
    _, email, access = await _joined(api, nobody)
    second, third = [(await _login(nobody, email)).json()["access_token"] for _ in range(2)]
    async with _as(orchestrator, access) as client:
        mine = (await client.get("/auth/sessions")).json()["items"]
        assert len(mine) == 3
        assert [login.get("current", False) for login in mine] == [False, False, True]
        assert {login["email"] for login in mine} == {email}
        assert (await client.delete(f"/auth/sessions/{mine[1]['id']}")).status_code == 204
        assert (await client.get("/organisation/sessions")).status_code == 403
    async with _as(orchestrator, second) as client:
        assert (await client.get("/auth/me")).status_code == 401
    everybody = (await api.get("/api/v1/organisation/sessions", params={"limit": 100})).json()["items"]
    assert {mine[0]["id"], mine[2]["id"]} <= {login["id"] for login in everybody}
    assert (await api.delete(f"/api/v1/organisation/sessions/{mine[0]['id']}")).status_code == 204
    async with _as(orchestrator, third) as client:
        assert (await client.get("/auth/me")).status_code == 401
    _, _, stranger = await _joined(api, nobody)
    async with _as(orchestrator, stranger) as client:
        assert (await client.delete(f"/auth/sessions/{mine[2]['id']}")).status_code == 404


async def test_what_is_for_logins_is_not_for_keys(api):
    """A key has no password and no logins."""
    for answer in (
        await api.get("/api/v1/auth/sessions"),
        await api.post("/api/v1/auth/password", json={"current_password": "x", "new_password": "x" * 10}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "login_needed")


async def test_an_organisation_is_renamed_and_keeps_its_policy(api):
    """What is left out stays; unknown fields are refused."""
    named = (await api.patch("/api/v1/organisation", json={"name": "The Team"})).json()
    policy = {"allow": [], "deny": ["ExecuteAnything", "Shell*"]}
    kept = (await api.patch("/api/v1/organisation", json={"node_policy": policy})).json()
    assert (named["name"], kept["name"], kept["node_policy"]) == ("The Team", "The Team", policy)
    assert (await api.get("/api/v1/organisation")).json() == kept
    assert (await api.patch("/api/v1/organisation", json={"slug": "x"})).status_code == 422
    await api.patch("/api/v1/organisation", json={"node_policy": {}})


async def test_a_policy_holds_for_versions_and_for_runs(api):
    """A graph with a denied class is not taken; a version taken before it does not run; lifted, both do again."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    made = (await api.post("/api/v1/workflows", json={"name": "before", "api_graph": graph})).json()
    await api.patch("/api/v1/organisation", json={"node_policy": {"deny": ["Empty*"]}})
    upload = await api.post("/api/v1/workflows", json={"name": "after", "api_graph": graph})
    run = await api.post("/api/v1/runs", json={"version_id": made["version"]["id"]})
    await api.patch("/api/v1/organisation", json={"node_policy": {}})
    for refused in (upload, run):
        assert (refused.status_code, refused.json()["code"]) == (422, "node_forbidden")
        assert [error["path"] for error in refused.json()["errors"]] == ["nodes.EmptyImage"]
    assert (await api.post("/api/v1/workflows", json={"name": "after", "api_graph": graph})).status_code == 201
    assert (await api.post("/api/v1/runs", json={"version_id": made["version"]["id"]})).status_code == 202


async def test_a_secret_is_kept_sealed_and_never_shown(api, orchestrator):
    """Set twice, listed without its value, encrypted in the database, gone when deleted."""
    path = "/api/v1/organisation/secrets/HF_TOKEN"
    assert (await api.put(path, json={"value": "hf_first"})).status_code == 200
    made = await api.put(path, json={"value": "hf_second"})
    assert set(made.json()) == {"name", "created_by", "created_at", "updated_at"}
    listed = await api.get("/api/v1/organisation/secrets")
    assert [item["name"] for item in listed.json()["items"]] == ["HF_TOKEN"]
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        sealed = await connection.fetchval("select sealed from secrets where name = 'HF_TOKEN'")
    finally:
        await connection.close()
    assert b"hf_" not in sealed
    assert b"hf_second" not in (orchestrator.data / "orchestrator.log").read_bytes()
    assert (await api.delete(path)).status_code == 204
    assert (await api.delete(path)).json()["code"] == "secret_not_found"
    assert (await api.put("/api/v1/organisation/secrets/1x", json={"value": "x"})).status_code == 422


async def test_the_audit_log_tells_who_did_what(api, nobody):
    """Newest first, by pages, by actor, by the beginning of an action, by subject, by time."""
    await _invite(api)
    user_id, email, _ = await _joined(api, nobody)
    await api.delete(f"/api/v1/members/{user_id}")
    query = {"action": "member.", "limit": 3}
    page = (await api.get("/api/v1/audit", params=query)).json()
    assert [entry["action"] for entry in page["items"]] == ["member.remove", "member.join", "member.invite"]
    removed, joined, invited = page["items"]
    assert joined["actor"] == removed["subject"] == f"user:{user_id}"
    assert invited["actor"].startswith("key:")
    older = (await api.get("/api/v1/audit", params={**query, "cursor": page["next_cursor"]})).json()["items"]
    assert older[0]["id"] < invited["id"]
    by_actor = (await api.get("/api/v1/audit", params={"actor": f"user:{user_id}"})).json()["items"]
    assert {entry["actor"] for entry in by_actor} == {f"user:{user_id}"}
    by_subject = (await api.get("/api/v1/audit", params={"subject": f"user:{user_id}"})).json()["items"]
    assert [entry["action"] for entry in by_subject] == ["member.remove"]
    since = {"since": removed["at"], "until": "2999-01-01T00:00:00Z"}
    assert removed["id"] in [entry["id"] for entry in (await api.get("/api/v1/audit", params=since)).json()["items"]]
    assert (await api.get("/api/v1/audit", params={"until": "2000-01-01T00:00:00Z"})).json()["items"] == []
    assert email not in str(page)
