"""Token buckets that all replicas draw from. One statement draws for many names; it knows no rule of who has which."""

from __future__ import annotations

from typing import Final, LiteralString

from msgspec import Struct

from orchestrator.store.db import Database

SWEPT: Final = 10_000


class Draw(Struct, frozen=True):
    """Tokens wanted from the bucket of this name."""

    name: str
    tokens: int


class Drawn(Struct, frozen=True):
    """granted: 0 to what was wanted. till_full_s: until the bucket is full if nobody draws."""

    granted: int
    till_full_s: float


# What is missing from a bucket is the time until it is full, divided by the time that one token takes.
_DRAW: Final[LiteralString] = """
insert into rate_buckets as b (name, full_at, granted)
select name, now() + least(wanted, $3::int) * $4::float8 * interval '1 second', least(wanted, $3::int)
from unnest($1::text[], $2::int[]) as w(name, wanted) order by name
on conflict (name) do update set (full_at, granted) = (
  select greatest(b.full_at, now()) + got * $4::float8 * interval '1 second', got
  from (select least(excluded.granted, greatest(0, floor(
          $3::int - greatest(0, extract(epoch from b.full_at - now()))::float8 / $4::float8 + 0.001)))::int) as g(got))
returning name, granted, greatest(0, extract(epoch from full_at - now()))::float8 as till_full_s
"""


async def draw(db: Database, wanted: list[Draw], burst: int, every_s: float) -> list[Drawn]:
    """Draw from buckets that hold `burst` tokens and gain one every `every_s` seconds. Each name once; in order."""
    rows = await db.fetch(_DRAW, [one.name for one in wanted], [one.tokens for one in wanted], burst, every_s)
    found = {row["name"]: Drawn(row["granted"], row["till_full_s"]) for row in rows}
    return [found[one.name] for one in wanted]


async def fill(db: Database, name: str) -> None:
    """Make a bucket full."""
    await db.execute("delete from rate_buckets where name = $1", name)


async def sweep(db: Database) -> bool:
    """Forget full buckets; whether there may be more."""
    done = await db.execute(
        """
        delete from rate_buckets where name = any(array(
          select name from rate_buckets where full_at < now() - interval '1 minute' limit $1)) and full_at < now()
        """,
        SWEPT,
    )
    return done == f"DELETE {SWEPT}"
