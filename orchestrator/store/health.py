"""Whether the database answers and has the schema this code was written for."""

from __future__ import annotations

from orchestrator.store.db import Database
from orchestrator.store.migrate import read_migrations


async def missing_migrations(db: Database) -> list[str]:
    """Names of migrations not yet applied. Raises DatabaseUnavailable."""
    there = await db.fetchval("select to_regclass('schema_migrations') is not null")
    rows = await db.fetch("select version from schema_migrations") if there else []
    applied = {row["version"] for row in rows}
    return [migration.name for migration in read_migrations() if migration.version not in applied]
