"""The permission matrix: every route of the application against every kind of credential that shall be refused.

What is expected is derived from each route's guard; tests/wire/permissions.py holds the exceptions.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import argon2
import asyncpg
import httpx
import pytest
import websockets

from orchestrator.api.inventory import Entry
from orchestrator.api.open_routes import ANY_CREDENTIAL, PUBLIC
from orchestrator.store import users
from orchestrator.store.db import prepare_connection
from tests.system import coloured
from tests.wire import permissions
from tests.wire.permissions import Bodies, Credential

pytestmark = pytest.mark.anyio

ENTRIES = permissions.entries()
GUARDED = [entry for entry in ENTRIES if not entry.public]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def test_every_route_has_a_guard_or_a_reason() -> None:
    """A route is guarded by a role and a scope, or it stands in one of the two tables with what protects it."""
    bare = [
        permissions.named(entry)
        for entry in ENTRIES
        if not (permissions.named(entry) in PUBLIC if entry.public else _is_guarded(entry))
    ]
    assert bare == []


def _is_guarded(entry: Entry) -> bool:
    if permissions.named(entry) in ANY_CREDENTIAL:
        return True
    return entry.role is not None and (bool(entry.scopes) or permissions.is_page(entry))


def test_the_tables_name_no_route_that_is_gone() -> None:
    """Each exception is a route of today, and as public as it says."""
    public = {permissions.named(entry) for entry in ENTRIES if entry.public}
    guarded = {permissions.named(entry) for entry in GUARDED}
    assert set(PUBLIC) - public == set()
    assert set(ANY_CREDENTIAL) - guarded == set()


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop for the module's client."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="module")
async def deployment(orchestrator) -> str:
    """A deployment of the first organisation."""
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=orchestrator.headers, timeout=20) as client:
        made = (await client.post("/api/v1/workflows", json={"name": "colour", "api_graph": coloured()})).json()
        body = {"version_id": made["version"]["id"]}
        return (await client.post("/api/v1/deployments", json=body)).json()["id"]


@pytest.fixture(scope="module")
async def client(orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a credential that follows no redirect and looks like a page of our own."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers, timeout=20) as client:
        yield client


async def _status(client: httpx.AsyncClient, entry: Entry, token: str | None, path: str, body: Any = None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if entry.method == "WS":
        return await _handshake(str(client.base_url).replace("http", "ws", 1).rstrip("/") + path, headers)
    async with client.stream(entry.method, path, headers=headers, json=body) as answer:
        return answer.status_code


async def _handshake(url: str, headers: dict[str, str]) -> int:
    try:
        async with websockets.connect(url, additional_headers=headers, proxy=None):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def test_no_route_lets_in_whom_it_should_not(api, client, orchestrator, deployment, capsys):
    """Without, with ended and with too weak credentials every route answers as its guard says; an owner passes all."""
    ended = await permissions.refused_logins(
        orchestrator.url, orchestrator.data, orchestrator.email, orchestrator.password
    )
    ended += await permissions.refused_keys(api, orchestrator.database_url)
    credentials = [Credential("no token", None), *ended, *await permissions.narrow_keys(api, deployment)]
    credentials.append(await permissions.login(orchestrator.url, orchestrator.email, orchestrator.password))
    wrong, count = [], 0
    for entry in GUARDED:
        path = permissions.filled(entry, {})
        for credential in credentials:
            if not permissions.concerns(entry, credential):
                continue
            count += 1
            status, wanted = await _status(client, entry, credential.token, path), _wanted(entry, credential)
            if status not in wanted:
                wrong.append(f"{permissions.named(entry)} with {credential.name}: {status}, not {sorted(wanted)[:4]}")
    with capsys.disabled():
        print(f"\npermission matrix: {count} requests to {len(GUARDED)} routes; {len(ENTRIES) - len(GUARDED)} public")
    assert wrong == []
    assert count > 12 * len(GUARDED)


def _wanted(entry: Entry, credential: Credential) -> set[int]:
    refused = permissions.expected(entry, credential)
    if refused is None:
        return {101, 501, *range(200, 500)} - {401, 403}  # 501: what a dialect has a route for, and we have not
    return {403} if entry.method == "WS" else refused


async def test_another_organisations_things_cannot_be_seen_or_touched(api, client, orchestrator, deployment, capsys):
    """An owner of one organisation sends the ids of another's to every route: 404, nothing changed, nothing told."""
    connection = await asyncpg.connect(orchestrator.database_url)
    try:
        await prepare_connection(connection)
        home = await connection.fetchval("select id from organisations where slug = 'default'")
        stranger = await _stranger(connection, orchestrator.url)
        things = await permissions.things(api, connection, home, deployment)
        before = await _belongings(connection, home)
        wrong, count = await _trespass(client, stranger, things)
        assert await _belongings(connection, home) == before
    finally:
        await connection.close()
    with capsys.disabled():
        print(f"\nanother organisation: {count} requests, {sorted(things)}")
    assert wrong == []


async def _stranger(connection: Any, url: str) -> str:
    """The access token of an owner of an organisation of its own."""
    await users.create_owner(connection, "stranger@example.org", argon2.PasswordHasher().hash("a password"), "other")
    return (await permissions.login(url, "stranger@example.org", "a password")).token or ""


async def _belongings(connection: Any, home: Any) -> dict[str, str]:
    """A fingerprint of every row that an organisation owns, but for what time alone changes."""
    prints = {}
    for row in await connection.fetch(permissions.OWNED):
        rows = "select md5(string_agg(t::text, '|' order by t::text)) from {} t where organisation_id = $1"
        prints[row["table_name"]] = await connection.fetchval(rows.format(row["table_name"]), home)
    # Counters are rolled up by loops, and the last use of a key is noted by another.
    return {name: value for name, value in prints.items() if not re.search(r"_(deltas|counts|days)$|^api_keys$", name)}


async def _trespass(client: httpx.AsyncClient, key: str, things: dict[str, str]) -> tuple[list[str], int]:
    bodies, wrong, count = Bodies(things), [], 0
    for entry in [entry for entry in GUARDED if entry.method != "WS"]:
        names = re.findall(r"\{(\w+)", entry.path)
        body = bodies.of(entry)
        if not set(names) & set(things) and entry.method != "GET" and body is None:
            continue
        count += 1
        headers = {"Authorization": f"Bearer {key}"}
        path = permissions.filled(entry, things) + bodies.query_of(entry)
        async with client.stream(entry.method, path, headers=headers, json=body) as answer:
            text = (await answer.aread()).decode(errors="replace") if "event-stream" not in str(answer.headers) else ""
        told = (set(UUID.findall(text)) & set(things.values())) - set(UUID.findall(path + json.dumps(body)))
        known = bool(set(names) & set(things))
        if told or answer.status_code not in _answers_to_a_stranger(entry, text, known=known, body=body):
            wrong.append(f"{permissions.named(entry)}: {answer.status_code} {text[:150]}")
    return wrong, count


def _answers_to_a_stranger(entry: Entry, text: str, *, known: bool, body: Any) -> set[int]:
    """404 to the id of a thing that is another's; where ids stand in the body, 422 as well. Never a fault of ours.

    A dialect may have to say "none" in its own words.
    """
    if '"code":"not_here"' in text:
        return {501}
    if not known:
        return set(range(200, 500))
    if entry.path.startswith("/api/v1/"):
        return {404} if body is None else {404, 422}
    return {400, 404, 422, *({200} if text in ("[]", "{}", "null", "") else set())}
