"""Logins, API keys, roles and the session cookie, against the real server."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from orchestrator.credentials import new_api_key

pytestmark = pytest.mark.anyio


async def _login(nobody: httpx.AsyncClient, orchestrator: Any) -> dict[str, Any]:
    answer = await nobody.post(
        "/api/v1/auth/login", json={"email": orchestrator.email.upper(), "password": orchestrator.password}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def _bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def test_the_first_admins_key_and_password_both_work(api, nobody, orchestrator):
    """The credentials in up.json stand for the owner of the default organisation."""
    by_key = (await api.get("/api/v1/auth/me")).json()
    tokens = await _login(nobody, orchestrator)
    by_token = (await nobody.get("/api/v1/auth/me", headers=_bearer(tokens["access_token"]))).json()
    assert by_key["role"] == by_token["role"] == "owner"
    assert by_key["organisation_id"] == by_token["organisation_id"]
    assert by_token["email"] == "admin@localhost"
    assert (orchestrator.data / "up.json").stat().st_mode & 0o777 == 0o600


async def test_a_wrong_password_and_an_unknown_user_look_the_same(nobody):
    """Both answers have the same status, code and text."""
    answers = [
        await nobody.post("/api/v1/auth/login", json={"email": email, "password": "wrong"})
        for email in ("admin@localhost", "nobody@example.org")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["code"] == answers[1].json()["code"] == "bad_login"
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


async def test_too_many_logins_are_turned_away(nobody):
    """After ten wrong passwords for one address the answer is 429 with Retry-After."""
    answers = await asyncio.gather(
        *(nobody.post("/api/v1/auth/login", json={"email": "flood@example.org", "password": "x"}) for _ in range(12))
    )
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert refused[0].json()["code"] == "too_many_logins"


async def test_refresh_rotates_and_a_reused_token_ends_the_login(nobody, orchestrator):
    """A refresh token works once; used again, it revokes the session with every token of it."""
    first = await _login(nobody, orchestrator)
    second = await nobody.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert second.status_code == 200
    reused = await nobody.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert reused.status_code == 401
    assert reused.json()["code"] == "bad_refresh_token"
    after = await nobody.post("/api/v1/auth/refresh", json={"refresh_token": second.json()["refresh_token"]})
    assert after.status_code == 401


async def test_one_refresh_of_two_at_the_same_time_wins(nobody, orchestrator):
    """Two concurrent uses of one token never both succeed."""
    tokens = await _login(nobody, orchestrator)
    answers = await asyncio.gather(
        *(nobody.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_logout_ends_the_access_token_at_once(nobody, orchestrator):
    """After logout neither the refresh token nor the access token works."""
    tokens = await _login(nobody, orchestrator)
    bearer = _bearer(tokens["access_token"])
    assert (await nobody.get("/api/v1/auth/me", headers=bearer)).status_code == 200
    gone = await nobody.post("/api/v1/auth/logout", json={"refresh_token": tokens["refresh_token"]})
    assert gone.status_code == 204
    assert (await nobody.get("/api/v1/auth/me", headers=bearer)).status_code == 401


def _forged(token: str, **changes: Any) -> str:
    header, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    body = base64.urlsafe_b64encode(json.dumps(claims | changes).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return f"{none}.{body}." if changes.get("alg_none") else f"{header}.{body}.{token.rsplit('.', 1)[1]}"


async def test_forged_tokens_are_refused(nobody, orchestrator):
    """Changed claims, `alg: none`, an unsigned header, plain noise and an unknown key are all 401."""
    token = (await _login(nobody, orchestrator))["access_token"]
    forgeries = [
        _forged(token, exp=4_000_000_000),
        _forged(token, alg_none=True),
        token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
        "x",
        "a.b.c",
        new_api_key(),
        new_api_key()[:-1],
    ]
    for forgery in forgeries:
        answer = await nobody.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {forgery}"})
        assert answer.status_code == 401, forgery
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_an_api_key_is_shown_once_limited_by_role_and_revoked_at_once(api, nobody):
    """Make a viewer's key, see what it may not do, revoke it."""
    made = (await api.post("/api/v1/api-keys", json={"name": "look", "role": "viewer"})).json()
    key = made["key"]
    listed = (await api.get("/api/v1/api-keys")).json()["items"]
    assert all("key" not in item for item in listed)
    assert key not in json.dumps(listed)
    assert (await nobody.get("/api/v1/machines", headers=_bearer(key))).status_code == 200
    refused = await nobody.post("/api/v1/machines", headers=_bearer(key), json={"name": "x"})
    assert refused.status_code == 403
    assert refused.json()["code"] == "forbidden"
    assert (await api.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 204
    assert (await nobody.get("/api/v1/machines", headers=_bearer(key))).status_code == 401


async def test_a_key_cannot_make_a_stronger_one(api, nobody):
    """A developer's key cannot make or revoke an admin's."""
    developer = (await api.post("/api/v1/api-keys", json={"name": "dev", "role": "developer"})).json()
    admin = (await api.post("/api/v1/api-keys", json={"name": "adm", "role": "admin"})).json()
    headers = _bearer(developer["key"])
    made = await nobody.post("/api/v1/api-keys", headers=headers, json={"name": "up", "role": "admin"})
    assert made.status_code == 403
    assert (await nobody.delete(f"/api/v1/api-keys/{admin['id']}", headers=headers)).status_code == 403


async def test_an_expired_key_is_refused_when_it_is_made(api):
    """expires_at in the past is an error that names the field."""
    answer = await api.post("/api/v1/api-keys", json={"name": "old", "expires_at": "2020-01-01T00:00:00Z"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "expires_at"


async def test_lists_go_by_cursor(api):
    """Pages of two show every key once, newest first."""
    for number in range(5):
        await api.post("/api/v1/api-keys", json={"name": f"page {number}", "role": "playground"})
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/api/v1/api-keys", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(set(seen)) >= 6


async def test_single_sign_on_is_off_unless_it_is_set_up(nobody):
    """No button, and no way to a provider or back."""
    assert "/login/oidc" not in (await nobody.get("/login")).text
    for path in ("/login/oidc", "/login/oidc/callback?code=x&state=y"):
        assert (await nobody.get(path)).status_code == 404
