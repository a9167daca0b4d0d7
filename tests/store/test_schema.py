"""schema.sql is the truth: the migrations lead to it, it explains itself, and it refuses what it must."""

from __future__ import annotations

import uuid

import asyncpg
import pytest

from orchestrator.store.db import Database
from orchestrator.store.migrate import migrate
from tests.conftest import SCHEMA, run_sql
from tests.store.catalogue import catalogue

pytestmark = pytest.mark.anyio


async def test_the_migrations_lead_to_schema_sql(two_databases: tuple[str, str]) -> None:
    """Applying every migration gives the very catalogue that schema.sql gives, on every version at hand."""
    by_schema, by_migrations = two_databases
    await run_sql(by_schema, SCHEMA.read_text())
    await migrate(by_migrations)
    expected, found = await catalogue(by_schema), await catalogue(by_migrations)
    assert len(expected) > 200
    assert found == expected


async def test_every_table_and_column_is_explained(db: Database) -> None:
    """No table and no column is without a comment."""
    silent = await db.fetch("""
        select pg_class.oid::regclass::text as table_name, attname as column_name
        from pg_class join pg_attribute on attrelid = pg_class.oid and attnum >= 0 and not attisdropped
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
          and col_description(attrelid, attnum) is null
        union all
        select oid::regclass::text, null from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and obj_description(oid) is null""")
    assert [tuple(row) for row in silent] == []


async def test_a_workflow_version_never_changes(db: Database) -> None:
    """An update of a version is refused by the database itself."""
    organisation, workflow, version = (uuid.uuid4() for _ in range(3))
    await db.execute("insert into organisations (id, name, slug) values ($1, 'A', 'a')", organisation)
    await db.execute("insert into workflows (id, organisation_id, name) values ($1, $2, 'w')", workflow, organisation)
    await db.execute(
        "insert into workflow_versions (id, organisation_id, workflow_id, version, api_graph, requirements)"
        " values ($1, $2, $3, 1, $4, $5)",
        version,
        organisation,
        workflow,
        {},
        {},
    )
    with pytest.raises(asyncpg.RestrictViolationError, match="immutable"):
        await db.execute("update workflow_versions set comment = 'other' where id = $1", version)
