"""What the permission matrix is made of: credentials of every kind that shall be refused, and requests to every route.

The routes are read from the application; what is expected of one follows from its guard and from the tables here.
"""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import asyncpg
import httpx
from msgspec import Struct

from orchestrator.api.inventory import Entry, inventory
from orchestrator.api.schema import document
from orchestrator.app import create_app
from orchestrator.auth import only_logins
from orchestrator.config import Config
from orchestrator.credentials import Claims, Signer
from orchestrator.runs.access import RANK
from orchestrator.wire import Scope


class Credential(Struct):
    """A bearer credential and why it shall be refused, or not."""

    name: str
    token: str | None
    role: str | None = None
    scopes: frozenset[str] | None = None
    bound: bool = False
    login: bool = False


def entries() -> list[Entry]:
    """Every route of the application that is ours."""
    return inventory(create_app(Config()))


def is_page(entry: Entry) -> bool:
    """Whether it is a page of the dashboard, which is for logins."""
    return entry.handler.fn.__module__.startswith("orchestrator.dashboard")


def named(entry: Entry) -> str:
    """A route as the tables name it."""
    return entry.name


def expected(entry: Entry, credential: Credential) -> set[int] | None:
    """The statuses that may be answered; None: the credential is let in, so anything but 401 and 403."""
    if credential.role is None:
        return {303, 401} if is_page(entry) else {401}
    if only_logins in entry.handler.resolve_guards() and not credential.login:
        return {403}
    if entry.role is not None and RANK[credential.role] < RANK[entry.role]:  # type: ignore[index]
        return {403}
    if credential.scopes is not None and not set(entry.scopes) <= credential.scopes:
        return {403}
    if credential.bound and entry.scopes and not entry.bound:
        return {403}
    return None


async def refused_logins(url: str, data: Path, email: str, password: str) -> list[Credential]:
    """An access token that has expired, and one whose login was ended."""
    async with httpx.AsyncClient(base_url=url) as client:
        login = (await client.post("/api/v1/auth/login", json={"email": email, "password": password})).json()
        headers = {"Authorization": f"Bearer {login['access_token']}"}
        me = (await client.get("/api/v1/auth/me", headers=headers)).json()
        await client.post("/api/v1/auth/logout", json={"refresh_token": login["refresh_token"]})
        other = (await client.post("/api/v1/auth/login", json={"email": email, "password": password})).json()
    signer = Signer((data / "secret.key").read_bytes().strip())
    session = signer.verify("access", other["access_token"]).session_id
    claims = Claims(session, me["user_id"], me["organisation_id"], time.time() - 1)
    return [
        Credential("an expired access token", signer.sign("access", claims)),
        Credential("a revoked session", login["access_token"]),
    ]


async def login(url: str, email: str, password: str) -> Credential:
    """The access token of an owner."""
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.post("/api/v1/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    return Credential("an owner's login", answer.json()["access_token"], "owner", login=True)


async def refused_keys(api: httpx.AsyncClient, database_url: str) -> list[Credential]:
    """A revoked key, an expired one, and an agent's credential."""
    revoked = (await api.post("/api/v1/api-keys", json={"name": "revoked", "role": "owner"})).json()
    await api.delete(f"/api/v1/api-keys/{revoked['id']}")
    expired = (await api.post("/api/v1/api-keys", json={"name": "expired", "role": "owner"})).json()
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("update api_keys set expires_at = now() where id = $1", uuid.UUID(expired["id"]))
    finally:
        await connection.close()
    machine = (await api.post("/api/v1/machines", json={"name": "matrix"})).json()
    token = (await api.post(f"/api/v1/machines/{machine['id']}/enrol-token")).json()["token"]
    body = {"token": token, "agent_version": "0"}
    agent = (await api.post("/api/v1/agent/enrol", json=body)).json()
    return [
        Credential("a revoked key", revoked["key"]),
        Credential("an expired key", expired["key"]),
        Credential("an agent's credential", agent["credential"]),
    ]


async def narrow_keys(api: httpx.AsyncClient, deployment_id: str) -> list[Credential]:
    """Keys that are valid, each narrowed in its way; the last is not narrowed at all."""
    every = frozenset(get_args(Scope))
    made = [await _key(api, f"the role {role}", role) for role in ("playground", "viewer", "developer", "admin")]
    made += [await _key(api, f"all scopes but {one}", "owner", scopes=sorted(every - {one})) for one in sorted(every)]
    bound = await _key(api, "bound to a deployment", "owner", deployment_ids=[deployment_id])
    bound.bound = True
    return [*made, bound, await _key(api, "an owner", "owner")]


async def _key(api: httpx.AsyncClient, name: str, role: str, **limits: Any) -> Credential:
    answer = await api.post("/api/v1/api-keys", json={"name": name, "role": role, **limits})
    assert answer.status_code == 201, answer.text
    scopes = limits.get("scopes")
    return Credential(name, answer.json()["key"], role, None if scopes is None else frozenset(scopes))


def concerns(entry: Entry, credential: Credential) -> bool:
    """Whether the pair shows something: of the keys that lack one scope, only the one that lacks the route's."""
    if not credential.name.startswith("all scopes but"):
        return True
    return credential.name.removeprefix("all scopes but ") in entry.scopes


def filled(entry: Entry, values: dict[str, str]) -> str:
    """The route's path with values for its parameters: a new id where none is known."""

    def value(match: re.Match[str]) -> str:
        fallback = "A_NAME" if match.group(1) == "name" else "1"
        return values.get(match.group(1)) or (str(uuid.uuid4()) if match.group(1).endswith("id") else fallback)

    return re.sub(r"\{(\w+)(?::\w+)?\}", value, entry.path)


class Bodies:
    """The smallest bodies that each route's description admits."""

    def __init__(self, things: dict[str, str]) -> None:
        import json

        described = json.loads(document(create_app(Config())))
        self._schemas = described["components"]["schemas"]
        self._paths = described["paths"]
        self._things = things

    def of(self, entry: Entry) -> Any:
        """A body, or None where the route takes none in JSON."""
        operation = self._paths.get(entry.path, {}).get(entry.method.lower(), {})
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return None
        return self._value("", content["application/json"]["schema"])

    def query_of(self, entry: Entry) -> str:
        """The query parameters that a route must have, as they stand in an address."""
        operation = self._paths.get(entry.path, {}).get(entry.method.lower(), {})
        wanted = [one for one in operation.get("parameters", []) if one["in"] == "query" and one["required"]]
        values = {one["name"]: self._parameter(one) for one in wanted}
        return f"?{urlencode(values)}" if values else ""

    def _parameter(self, parameter: dict[str, Any]) -> Any:
        if parameter["schema"].get("format") == "uuid":
            return self._things["version_id"]
        return self._value(parameter["name"], parameter["schema"])

    def _value(self, name: str, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        for several in ("oneOf", "anyOf", "allOf"):
            if several in schema:
                return self._value(name, schema[several][0])
        if "enum" in schema or "const" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        match schema.get("type"):
            case "object":
                known = schema.get("properties", {})
                wanted = {*schema.get("required", []), *(key for key in known if key in self._things)}
                return {key: self._value(key, known[key]) for key in sorted(wanted) if key in known}
            case "array":
                return [self._value(name, schema["items"])] if schema.get("minItems") else []
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
        return self._things.get(name, "x" * max(1, schema.get("minLength", 1)))


OWNED = """
select c.table_name from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
where c.table_schema = 'public' and c.column_name = 'organisation_id' and table_type = 'BASE TABLE' order by 1
"""


async def things(api: httpx.AsyncClient, connection: Any, home: Any, deployment: str) -> dict[str, str]:
    """One real id of the first organisation for each kind of thing: of what is made here, and of every table."""
    body = {"deployment_id": deployment, "inputs": {"colour": 1}}
    assert (await api.post("/api/v1/runs", json=body)).status_code == 202
    await api.post("/api/v1/machines", json={"name": "someone's"})
    await api.post("/api/v1/files", files={"file": ("a.txt", b"hello", "text/plain")})
    await api.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:9/hook"})
    await api.post("/api/v1/invitations", json={"email": "new@example.org", "role": "viewer"})
    things: dict[str, str] = {}
    for row in await connection.fetch(OWNED):
        name = row["table_name"]
        has_id = "select true from information_schema.columns where table_name = $1 and column_name = 'id'"
        if await connection.fetchval(has_id, name):
            found = await connection.fetchval(f"select id from {name} where organisation_id = $1 limit 1", home)
            if found is not None:
                things[f"{name.removesuffix('s')}_id"] = str(found)
    renamed = {"api_key_id": "key_id", "workflow_version_id": "version_id", "webhook_endpoint_id": "webhook_id"}
    things |= {new: things[old] for old, new in renamed.items() if old in things}
    things["user_id"] = str(
        await connection.fetchval("select user_id from memberships where organisation_id = $1", home)
    )
    assert {"run_id", "machine_id", "file_id", "key_id", "version_id", "webhook_id", "deployment_id"} <= set(things)
    return things
