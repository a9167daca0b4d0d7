"""Clients that stand for somebody else than the first administrator: another organisation, another key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx

from orchestrator.credentials import hint_of, new_api_key
from orchestrator.store import keys, users
from orchestrator.store.db import Database
from orchestrator.store.ids import digest


@asynccontextmanager
async def stranger_of(orchestrator: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of another organisation's owner."""
    database, key = await Database.open(orchestrator.database_url, max_size=1), new_api_key()
    async with database.transaction() as connection:
        organisation, user = await users.create_owner(connection, f"{uuid4()}@example.org", "-", f"other-{uuid4()}")
        new = keys.NewKey(organisation, "stranger", digest(key), hint_of(key), "owner", user)
        await keys.create(connection, new, "system")
    await database.close()
    async with client_with(orchestrator, key) as client:
        yield client


@asynccontextmanager
async def client_with(orchestrator: Any, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with this key."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=orchestrator.url, headers=headers, timeout=20) as client:
        yield client
