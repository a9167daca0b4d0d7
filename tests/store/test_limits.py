"""Rate limits that replicas share, on a real database: no bucket gives more than it holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.limits import Limit
from orchestrator.store import limits
from orchestrator.store.db import Database
from orchestrator.store.limits import Draw

pytestmark = pytest.mark.anyio
SLOW = 0.001
"""Tokens a second: so few that none is gained during a test."""


@asynccontextmanager
async def _limit(db: Database, burst: int, per_s: float, **options: int) -> AsyncIterator[Limit]:
    limit = Limit(db, burst, per_s, **options)
    limit.start()
    try:
        yield limit
    finally:
        await limit.stop()


async def _taken(limit: Limit, name: str, tries: int) -> int:
    """How many of so many attempts at once got a token."""
    standings = await asyncio.gather(*(limit.take(name) for _ in range(tries)))
    return sum(standing.wait_s == 0 for standing in standings)


async def test_a_bucket_holds_its_burst_and_says_when_to_come_again(db: Database) -> None:
    """Of 150 attempts 100 succeed; the others are told to wait for what is missing."""
    async with _limit(db, 100, SLOW) as limit:
        assert await _taken(limit, "a", 150) == 100
        refused = await limit.take("a")
        assert refused.remaining == 0
        assert 500 < refused.wait_s <= 1000
        assert await _taken(limit, "b", 1) == 1


async def test_replicas_share_a_bucket(db: Database) -> None:
    """Three of them, each asked for more than there is, together give out exactly what one alone would."""
    async with _limit(db, 300, SLOW) as one, _limit(db, 300, SLOW) as two, _limit(db, 300, SLOW) as three:
        counts = await asyncio.gather(*(_taken(limit, "a", 400) for limit in (one, two, three)))
        assert sum(counts) == 300


async def test_unspent_portions_are_all_that_may_be_missing(db: Database) -> None:
    """One replica takes one token and holds the rest of its portion; another gets all but that portion or two."""
    async with _limit(db, 100, SLOW) as idle, _limit(db, 100, SLOW) as busy:
        assert await _taken(idle, "a", 1) == 1
        assert 80 <= await _taken(busy, "a", 200) <= 90


async def test_tokens_come_back_with_time(db: Database) -> None:
    """An emptied bucket of 50 a second has some again soon, and never more than the time gave."""
    async with _limit(db, 10, 50.0) as limit:
        assert await _taken(limit, "a", 30) >= 10
        loop = asyncio.get_running_loop()
        start, got = loop.time(), 0
        while got < 10:
            got += (await limit.take("a")).wait_s == 0
            await asyncio.sleep(0.001)
        assert loop.time() - start > 0.1


async def test_few_draws_serve_many_requests(db: Database) -> None:
    """1,000 requests of one name cost about ten statements, not 1,000."""
    drawn = 0

    async def draw(*arguments: object) -> object:
        nonlocal drawn
        drawn += 1
        return await original(*arguments)  # type: ignore[arg-type]

    original = limits.draw
    async with _limit(db, 10_000, 10.0) as limit:
        limits.draw = draw  # type: ignore[assignment]
        try:
            for _ in range(3_000):
                assert (await limit.take("a")).wait_s == 0
        finally:
            limits.draw = original
    assert 1 <= drawn <= 10


async def test_what_is_left_is_told(db: Database) -> None:
    """remaining falls with each token, and the time until the bucket is full grows."""
    async with _limit(db, 100, 1.0) as limit:
        standings = [await limit.take("a") for _ in range(30)]
        left = [standing.remaining for standing in standings]
        assert left == sorted(left, reverse=True)
        assert left[-1] == pytest.approx(70, abs=1)
        assert standings[-1].reset_s == pytest.approx(30, abs=1)
        assert limit.policy == "q=100;w=100"


async def test_filling_forgives(db: Database) -> None:
    """After a right password the attempts before it count no more."""
    async with _limit(db, 3, SLOW, portion=1) as limit:
        assert await _taken(limit, "login", 5) == 3
        await limit.fill("login")
        assert await _taken(limit, "login", 5) == 3


async def test_nobody_is_held_up_when_the_database_is_away(database_url: str) -> None:
    """Draws that fail let requests through: the limit protects the service and must not end it."""
    db = await Database.open(database_url)
    async with _limit(db, 100, SLOW) as limit:
        await db.close()
        assert await _taken(limit, "a", 50) == 50


async def test_a_draw_never_overdraws(db: Database) -> None:
    """20 statements at once for the same bucket grant exactly what it holds."""
    results = await asyncio.gather(*(limits.draw(db, [Draw("a", 30)], 200, 1000.0) for _ in range(20)))
    assert sum(drawn.granted for (drawn,) in results) == 200


async def test_full_buckets_are_swept(db: Database) -> None:
    """What is full again is forgotten; what is not stays."""
    await limits.draw(db, [Draw("empty", 5)], 10, 1000.0)
    await limits.draw(db, [Draw("full", 5)], 10, 1.0)
    await db.execute("update rate_buckets set full_at = now() - interval '2 minutes' where name = 'full'")
    assert not await limits.sweep(db)
    assert [row["name"] for row in await db.fetch("select name from rate_buckets")] == ["empty"]
