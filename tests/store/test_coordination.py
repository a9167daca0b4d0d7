"""Wake-ups and leadership between two replicas, through lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orchestrator.store.coordination import Leader, Wakeup

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[tuple[Wakeup, Wakeup]]:
    """Two replicas on one channel, both listening."""
    wakeups = Wakeup(database_url, "runs"), Wakeup(database_url, "runs")
    for wakeup in wakeups:
        await wakeup.start()
        assert await wakeup.wait(10)  # the first wake-up says: listening from now on
    yield wakeups
    for wakeup in wakeups:
        await wakeup.close()


async def end_sessions(dsn: str) -> None:
    """End every other session of the database."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where pid <> pg_backend_pid() and datname = current_database() and backend_type = 'client backend'"
    )
    await connection.close()


async def test_a_notification_wakes_both_replicas(pair: tuple[Wakeup, Wakeup]) -> None:
    """notify() wakes the own waiter at once and the other replica's through the database."""
    here, there = pair
    here.notify()
    assert await here.wait(0.01)
    assert await there.wait(10)


async def test_nothing_said_is_a_time_out(pair: tuple[Wakeup, Wakeup]) -> None:
    """wait() says False when the time is up, and a wake-up is used up by one wait."""
    here, there = pair
    here.notify()
    assert await there.wait(10)
    assert not await there.wait(0.05)


async def test_many_marks_make_few_notifications(pair: tuple[Wakeup, Wakeup], database_url: str) -> None:
    """A thousand notify() in one go are sent as one or two."""
    heard: list[str] = []
    first = asyncio.Event()

    def hear(*_: object) -> None:
        heard.append("runs")
        first.set()

    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("runs", hear)
        for _ in range(1000):
            pair[0].notify()
        await asyncio.wait_for(first.wait(), 10)
        await listener.execute("select 1")
        assert len(heard) <= 2
    finally:
        await listener.close()


async def test_it_listens_again_after_a_lost_connection(pair: tuple[Wakeup, Wakeup], database_url: str) -> None:
    """After the sessions are ended both sides are woken once (something may be lost) and wake-ups work again."""
    here, there = pair
    await end_sessions(database_url)
    assert await here.wait(10)
    assert await there.wait(10)
    here.notify()
    assert await there.wait(10)


async def test_it_waits_without_a_database() -> None:
    """With no server at all, starting, notifying, waiting and closing work."""
    wakeup = Wakeup("postgresql://postgres@127.0.0.1:1/postgres", "runs")
    await wakeup.start()
    wakeup.notify()
    assert await wakeup.wait(1)
    assert not await wakeup.wait(0.05)
    await wakeup.close()


async def test_one_leader_at_a_time(database_url: str) -> None:
    """The second holds only after the first has released."""
    first, second = Leader(database_url, 7), Leader(database_url, 7)
    assert await first.hold()
    assert not await second.hold()
    assert await first.hold()
    await first.release()
    assert await second.hold()
    await second.release()


async def test_a_leader_that_lost_its_session_takes_the_key_again(database_url: str) -> None:
    """After its session is ended hold() is False once at most, then True; the other takes a free key meanwhile."""
    first, second = Leader(database_url, 7), Leader(database_url, 7)
    assert await first.hold()
    await end_sessions(database_url)
    assert await second.hold()
    assert not await first.hold()
    await second.release()
    async with asyncio.timeout(10):
        while not await first.hold():
            await asyncio.sleep(0.01)
    await first.release()


async def test_without_a_database_nobody_leads() -> None:
    """hold() answers False instead of raising."""
    leader = Leader("postgresql://postgres@127.0.0.1:1/postgres", 7)
    assert not await leader.hold()
    await leader.release()
