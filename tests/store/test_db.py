"""The door to PostgreSQL, against a real server that is killed under it."""

from __future__ import annotations

import pytest

from orchestrator.store.db import Database

pytestmark = pytest.mark.anyio


async def test_json_columns_are_python_values(db: Database) -> None:
    """jsonb and json go in and come out as Python values, inside arrays too; SQL null stays None."""
    value = {"a": [1, None, "é"], "b": {"c": True}}
    assert await db.fetchval("select $1::jsonb", value) == value
    assert await db.fetchval("select $1::json", value) == value
    assert await db.fetchval("select $1::jsonb[]", [value, 3, None]) == [value, 3, None]
    assert await db.fetchval("select $1::jsonb", None) is None
