"""Every route that changes something leaves an entry in the audit log; found out by calling each as an owner."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import httpx
import pytest

from orchestrator.api.inventory import Entry
from tests.system import coloured
from tests.wire import permissions
from tests.wire.permissions import Bodies

pytestmark = pytest.mark.anyio

TOLD_ELSEWHERE: Final = {
    "POST /api/v1/runs": "a run's history and its row say who started it",
    "POST /api/v1/deployments/{deployment_id}/runs": "the same",
    "POST /api/v1/runs/{run_id}/retry": "the same, of the new run",
    "POST /api/v1/runs/{run_id}/cancel": "the run's history names who cancelled it",
    "PATCH /api/v1/runs/{run_id}": "a favourite is a mark for its readers",
    "POST /api/v1/files": "a file's row",
    "POST /api/v1/files/uploads/{file_id}/complete": "the same",
    "POST /api/v1/comfyui-links": "what is done through a link is told as done by its maker",
    "POST /api/v1/webhooks/{webhook_id}/test": "changes nothing: a message is sent",
}
"""Routes that leave no entry, and where it is told instead."""
BODIES: Final[dict[str, Any]] = {
    "POST /api/v1/workflows/{workflow_id}/versions": {"api_graph": coloured()},
    "PATCH /api/v1/machines/{machine_id}": {"name": "renamed"},
    "POST /api/v1/invitations": {"email": "another@example.org"},
    "POST /api/v1/webhooks": {"url": "http://127.0.0.1:9/hook"},
}
"""Where the smallest body that the description admits is not enough."""
ORDER: Final = {"POST": 0, "PUT": 1, "PATCH": 2, "DELETE": 3}


async def test_every_change_is_in_the_audit_log(api, orchestrator, capsys):
    """A route that answered with success and is not listed above has left an entry."""
    made = (await api.post("/api/v1/workflows", json={"name": "colour", "api_graph": coloured()})).json()
    body = {"version_id": made["version"]["id"]}
    deployment = (await api.post("/api/v1/deployments", json=body)).json()["id"]
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        home = await connection.fetchval("select id from organisations where slug = 'default'")
        things = await permissions.things(api, connection, home, deployment)
        things |= await _somebody(api, orchestrator.url)
        owner = await permissions.login(orchestrator.url, orchestrator.email, orchestrator.password)
        headers = {"Authorization": f"Bearer {owner.token}"}
        async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers, timeout=20) as client:
            silent, told, refused = await _called(client, connection, things)
    finally:
        await connection.close()
    with capsys.disabled():
        print(f"\naudited: {len(told)} routes; not driven by the smallest body: {len(refused)}")
        print("\n".join(refused))
    assert not silent, "\n".join(silent)
    assert len(told) >= 25


async def _somebody(api: httpx.AsyncClient, url: str) -> dict[str, str]:
    """A member, their login, their key: not the caller's own."""
    body = {"email": "somebody@example.org", "role": "developer"}
    token = (await api.post("/api/v1/invitations", json=body)).json()["token"]
    async with httpx.AsyncClient(base_url=url) as client:
        body = {"token": token, "password": "correct horse"}
        access = (await client.post("/api/v1/auth/accept-invitation", json=body)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {access}"
        me = (await client.get("/api/v1/auth/me")).json()
        session = (await client.get("/api/v1/auth/sessions")).json()["items"][0]
        key = (await client.post("/api/v1/api-keys", json={"name": "theirs"})).json()
    return {"user_id": me["user_id"], "session_id": session["id"], "key_id": key["id"], "name": "NAME"}


async def _called(api: httpx.AsyncClient, connection: Any, things: dict[str, str]) -> tuple[list[str], ...]:
    bodies, silent, told, refused = Bodies(things), [], [], []
    for entry in sorted(_changing(), key=lambda entry: (ORDER[entry.method], -len(entry.path))):
        name = permissions.named(entry)
        before = await connection.fetchval("select count(*) from audit_log")
        answer = await api.request(
            entry.method, permissions.filled(entry, things), json=BODIES.get(name) or bodies.of(entry)
        )
        assert answer.status_code < 500, f"{name}: {answer.text}"
        written = await connection.fetchval("select count(*) from audit_log") - before
        if not answer.is_success:
            refused.append(f"{name} {answer.status_code} {answer.text[:120]}")
        elif name in TOLD_ELSEWHERE or written:
            told.append(name)
        else:
            silent.append(name)
    return silent, told, refused


def _changing() -> list[Entry]:
    return [
        entry
        for entry in permissions.entries()
        if entry.method in ORDER and entry.path.startswith("/api/v1/") and not entry.public
    ]
