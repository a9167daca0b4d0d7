"""The migrator, on real databases: several at once, changed files, files outside a transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from orchestrator.store.db import Database
from orchestrator.store.migrate import MigrationError, migrate, read_migrations

pytestmark = pytest.mark.anyio

FIRST = """
create table schema_migrations (version integer primary key, name text not null, checksum text not null,
  applied_at timestamptz not null default now());
create table t (a integer);
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one migration."""
    (tmp_path / "0001_first.sql").write_text(FIRST)
    return tmp_path


async def test_five_replicas_migrate_an_empty_database_at_once(two_databases: tuple[str, str]) -> None:
    """One does the work, the others find nothing to do, and none fails."""
    dsn, _ = two_databases
    results = await asyncio.gather(*(migrate(dsn) for _ in range(5)))
    assert sorted(map(len, results), reverse=True) == [len(read_migrations()), 0, 0, 0, 0]
    assert await migrate(dsn) == []


async def test_the_template_counts_as_migrated(database_url: str) -> None:
    """A test's database has the migrations on record, so that a process that migrates first can use it."""
    assert await migrate(database_url) == []


async def test_a_file_that_changed_is_refused(empty_database_url: str, folder: Path) -> None:
    """A file that is not what was applied stops the migrator, which says what to do."""
    await migrate(empty_database_url, folder=folder)
    (folder / "0001_first.sql").write_text(FIRST + "-- edited")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed.*new migration"):
        await migrate(empty_database_url, folder=folder)


async def test_a_failing_file_leaves_nothing_behind(empty_database_url: str, folder: Path) -> None:
    """What a failing file did before its error is undone; the files before it stay applied."""
    (folder / "0002_bad.sql").write_text("create table half (a integer); select 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database_url, folder=folder)
    database = await Database.open(empty_database_url)
    assert await database.fetchval("select to_regclass('half')") is None
    assert await database.fetchval("select array_agg(version) from schema_migrations") == [1]
    await database.close()


async def test_an_index_is_built_concurrently_while_others_wait(empty_database_url: str, folder: Path) -> None:
    """A file marked no-transaction runs outside one, and replicas waiting for their turn do not block it."""
    (folder / "0002_index.sql").write_text("-- no-transaction\ncreate index concurrently if not exists t_a on t (a);")
    results = await asyncio.gather(*(migrate(empty_database_url, folder=folder) for _ in range(4)))
    assert sorted(results, key=len)[-1] == ["0001_first", "0002_index"]


@pytest.mark.parametrize(
    ("names", "message"),
    [(["first.sql"], "named like"), (["0001_a.sql", "0001_b.sql"], "is taken by 0001_a"), ([], "no migrations")],
)
def test_names_that_make_no_order_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    """A name without a number, a number used twice, or no file at all is an error before anything is run."""
    for name in names:
        (tmp_path / name).write_text("select 1")
    with pytest.raises(MigrationError, match=message):
        read_migrations(tmp_path)
