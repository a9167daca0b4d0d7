"""Brings a database to the present schema by numbered SQL files, each applied once.

A file is `NNNN_name.sql`, one transaction, recorded with the sha256 of its text: a file that changed after it was
applied is an error. A file with a line `-- no-transaction` runs outside one (create index concurrently); it must hold
one statement that may be run twice (`if not exists`). Several replicas may migrate at once: an advisory lock lets one
work and the others find nothing to do. It does not know what the files say.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from orchestrator.store.db import connect

if TYPE_CHECKING:
    from asyncpg import Connection, Record

log = structlog.get_logger("migrate")

LOCK_KEY = 0x636F6D6679  # "comfy"
LOCK_POLL_S = 0.1


class MigrationError(Exception):
    """The files and the database's record of them contradict each other."""


class Migration(Struct, frozen=True):
    """One file."""

    version: int
    name: str
    sql: str
    checksum: str
    in_transaction: bool


def sql_folder() -> Path:
    """Where the files are: in the package when it was installed from a wheel, in deploy/ in a checkout."""
    here = Path(__file__).resolve()
    packaged = here.parents[1] / "_sql" / "migrations"
    return packaged if packaged.is_dir() else here.parents[2] / "deploy" / "migrations"


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """The files in order. Raises MigrationError for a name without a number, or a number used twice."""
    found: dict[int, Migration] = {}
    for path in sorted((folder or sql_folder()).glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a migration is named like 0002_add_something.sql")
        version = int(match.group(1))
        if version in found:
            raise MigrationError(f"{path.name}: number {version} is taken by {found[version].name}")
        sql = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(sql.encode()).hexdigest()
        outside = re.search(r"^-- no-transaction\s*$", sql, re.MULTILINE) is not None
        found[version] = Migration(version, path.stem, sql, checksum, not outside)
    if not found:
        raise MigrationError(f"no migrations were found in {folder or sql_folder()}")
    return list(found.values())


async def migrate(dsn: str, *, folder: Path | None = None) -> list[str]:
    """Apply what is missing; returns the names applied. Raises MigrationError, DatabaseUnavailable, PostgresError."""
    migrations = await asyncio.to_thread(read_migrations, folder)
    connection = await connect(dsn)
    try:
        await connection.execute("set statement_timeout = 0")
        await _lock(connection)
        done = await _recorded(connection)
        _compare(migrations, done)
        waiting = [migration for migration in migrations if migration.version not in done]
        for migration in waiting:
            await _apply(connection, migration)
            log.info("migrated", migration=migration.name)
        return [migration.name for migration in waiting]
    finally:
        await connection.close(timeout=10)  # frees the lock as well


async def _lock(connection: Connection[Record]) -> None:
    # Asked again and again rather than waited for: a waiting statement holds a snapshot, and `create index
    # concurrently`, run by the lock's holder, would wait for it for ever.
    while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK_KEY):  # noqa: ASYNC110 - the lock is elsewhere
        await asyncio.sleep(LOCK_POLL_S)


async def _recorded(connection: Connection[Record]) -> dict[int, str]:
    """Version -> checksum of what was applied. The first migration itself makes the table."""
    if await connection.fetchval("select to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("select version, checksum from schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def _compare(migrations: list[Migration], done: dict[int, str]) -> None:
    for migration in migrations:
        if done.get(migration.version, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"{migration.name}.sql was changed after it was applied to this database: restore the file and put the "
                "change into a new migration"
            )
    unknown = sorted(set(done) - {migration.version for migration in migrations})
    if unknown:
        log.warning("the database was migrated by a newer version of ComfyFleet", versions=unknown)


async def _apply(connection: Connection[Record], migration: Migration) -> None:
    if migration.in_transaction:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await record(connection, migration)
    else:
        await connection.execute(migration.sql)
        await record(connection, migration)


async def record(connection: Connection[Record], migration: Migration) -> None:
    """Write down that a migration is in the database."""
    await connection.execute(
        "insert into schema_migrations (version, name, checksum) values ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )
