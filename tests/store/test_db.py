"""The door to PostgreSQL, against a real server that is killed under it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import msgspec
import pytest

from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.store.embedded import EmbeddedPostgres

pytestmark = pytest.mark.anyio


class Point(msgspec.Struct):
    x: int


async def eventually(probe: Callable[[], Awaitable[object]], seconds: float = 20) -> None:
    """Ask until the answer is true; DatabaseUnavailable counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if await probe():
                return
        except DatabaseUnavailable:
            pass
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture
async def mortal(reachable_tmp: Path) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    """A server of the test's own, to be killed."""
    server = EmbeddedPostgres(reachable_tmp / "db", durable=False)
    dsn = await server.start()
    yield server, dsn
    await server.stop()


async def test_json_columns_are_python_values(db: Database) -> None:
    """jsonb and json go in and come out as Python values, inside arrays too; SQL null stays None."""
    value = {"a": [1, None, "é"], "b": {"c": True}}
    assert await db.fetchval("select $1::jsonb", value) == value
    assert await db.fetchval("select $1::json", value) == value
    assert await db.fetchval("select $1::jsonb[]", [value, 3, None]) == [value, 3, None]
    assert await db.fetchval("select $1::jsonb", Point(3)) == {"x": 3}
    assert await db.fetchval("select $1::jsonb", None) is None


async def test_ids_go_in_as_text_and_come_out_as_uuid(db: Database) -> None:
    """A uuid column takes a str or a UUID and gives a UUID."""
    value = uuid.uuid4()
    assert await db.fetchval("select $1::uuid", str(value)) == value
    assert await db.fetchval("select $1::uuid[]", [str(value), value]) == [value, value]


async def test_sessions_are_bounded(db: Database) -> None:
    """Statements and idle transactions end after 30 s, and no plan is compiled."""
    row = await db.fetchrow(
        "select current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'),"
        " current_setting('jit'), current_setting('application_name')"
    )
    assert row is not None
    assert tuple(row) == ("30s", "30s", "off", "comfyfleet")


async def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    """An exception rolls back and passes through; leaving normally commits."""

    async def fail_midway() -> None:
        async with db.transaction() as connection:
            await connection.execute("create table t (a integer)")
            raise KeyError

    with pytest.raises(KeyError):
        await fail_midway()
    assert await db.fetchval("select to_regclass('t')") is None
    async with db.transaction() as connection:
        await connection.execute("create table t (a integer)")
    assert await db.fetchval("select to_regclass('t')") == "t"


async def test_a_refused_statement_is_not_an_outage(db: Database) -> None:
    """Syntax errors, wrong values and a wrong number of arguments come as what they are."""
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await db.execute("selct 1")
    with pytest.raises(asyncpg.exceptions.DataError):
        await db.fetchval("select 'x'::text::integer")
    with pytest.raises(asyncpg.exceptions.DataError, match="invalid input"):
        await db.fetchval("select $1::integer", "x")
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        await db.fetchval("select $1::integer", 1, 2)


async def test_a_lost_connection_is_said_and_replaced(db: Database, database_url: str) -> None:
    """A connection ended in mid-use raises DatabaseUnavailable; one that died while idle is replaced unseen."""
    with pytest.raises(DatabaseUnavailable):
        await db.execute("select pg_terminate_backend(pg_backend_pid())")
    pid = await db.fetchval("select pg_backend_pid()")
    other = await asyncpg.connect(database_url)
    assert await other.fetchval("select pg_terminate_backend($1, 5000)", pid)
    await other.close()
    assert await db.fetchval("select pg_backend_pid()") != pid


async def test_no_server_is_unavailable(tmp_path: Path) -> None:
    """Opening against a socket that is not there raises DatabaseUnavailable at once."""
    with pytest.raises(DatabaseUnavailable):
        await Database.open(f"postgresql://postgres@/postgres?host={tmp_path}")


async def test_killed_under_load_every_statement_answers_or_says_unavailable(
    mortal: tuple[EmbeddedPostgres, str], reachable_tmp: Path
) -> None:
    """Kill -9 of the server under eight writers: no other error, no hang, no acknowledged row lost, all go on after."""
    server, dsn = mortal
    db = await Database.open(dsn, max_size=8)
    await db.execute("create table t (a bigint primary key)")
    acknowledged: set[int] = set()
    outages = 0
    ended = asyncio.Event()

    async def write(first: int) -> None:
        nonlocal outages
        number = first
        while not ended.is_set():
            number += 8
            try:
                await db.execute("insert into t values ($1)", number)
                acknowledged.add(number)
            except DatabaseUnavailable:
                outages += 1
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        watch = group.create_task(server.watch())
        writers = [group.create_task(write(first)) for first in range(8)]
        for _ in range(2):
            before = len(acknowledged)
            await eventually(lambda before=before: _true(len(acknowledged) > before + 200))
            os.kill(_postmaster(reachable_tmp / "db"), signal.SIGKILL)
            await eventually(lambda seen=outages: _true(outages > seen))
            await eventually(lambda: db.fetchval("select true"))
        before = len(acknowledged)
        await eventually(lambda: _true(len(acknowledged) > before + 200))
        ended.set()
        _, late = await asyncio.wait(writers, timeout=60)
        assert not late, [task.get_stack() for task in late]
        watch.cancel()
    stored = {row["a"] for row in await db.fetch("select a from t")}
    assert acknowledged <= stored
    await db.close()


async def _true(value: bool) -> bool:
    return value


def _postmaster(home: Path) -> int:
    return int((home / "data" / "postmaster.pid").read_text().split("\n")[0])
