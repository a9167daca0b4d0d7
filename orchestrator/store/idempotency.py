"""What was answered to requests with an Idempotency-Key: claimed, kept for a day, found again.

A run and its key are stored by one statement (store/runs.py); everything else is claimed first and answered later.
It knows neither headers nor bodies, only their hashes and what was sealed.
"""

from __future__ import annotations

from typing import Final, LiteralString

from msgspec import Struct

from orchestrator.store.db import Database

LIFE_S: Final = 86_400
LOCK_S: Final = 60
SWEPT: Final = 5_000


class Once(Struct, frozen=True):
    """A request that shall have its effect once. credential: key:<id> or user:<id>; route: method and path."""

    credential: str
    route: str
    key_hash: bytes
    request_hash: bytes


class Repeated(Struct, frozen=True):
    """The key was used before. same: with the same body. run_id: the run it started; None: it is no run's."""

    same: bool
    run_id: str | None = None


class Kept(Struct, frozen=True):
    """What stands under a key. status is None while the first request is worked on."""

    same: bool
    status: int | None
    answer: bytes | None
    wait_s: float


async def repeated(db: Database, wanted: list[tuple[str, Once]]) -> list[Repeated | None]:
    """For each (organisation, request) the run that its key started, in order; None: there is no such key."""
    rows = await db.fetch(
        """
        select w.place, k.run_id, k.request_hash = w.request_hash as same
        from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bytea[])
             with ordinality as w(organisation_id, credential, route, key_hash, request_hash, place)
        join idempotency_keys k using (organisation_id, credential, route, key_hash)
        where k.expires_at > now() and k.run_id is not null
        """,
        [organisation for organisation, _ in wanted],
        [once.credential for _, once in wanted],
        [once.route for _, once in wanted],
        [once.key_hash for _, once in wanted],
        [once.request_hash for _, once in wanted],
    )
    found = {row["place"]: Repeated(row["same"], str(row["run_id"])) for row in rows}
    return [found.get(place) for place in range(1, len(wanted) + 1)]


_CLAIM: Final[LiteralString] = """
insert into idempotency_keys as k
  (organisation_id, credential, route, key_hash, request_hash, locked_until, expires_at)
values ($1, $2, $3, $4, $5, now() + $6 * interval '1 second', now() + $7 * interval '1 second')
on conflict (organisation_id, credential, route, key_hash) do update
  set request_hash = excluded.request_hash, run_id = null, status = null, answer = null, created_at = now(),
      locked_until = excluded.locked_until, expires_at = excluded.expires_at
  where k.expires_at <= now() or (k.status is null and k.run_id is null and k.locked_until <= now())
returning true
"""


async def claim(db: Database, organisation_id: str, once: Once) -> bool:
    """Take the key for this request. False: it is taken; `kept` says by what."""
    names = (organisation_id, once.credential, once.route, once.key_hash, once.request_hash)
    return bool(await db.fetchval(_CLAIM, *names, LOCK_S, LIFE_S))


async def kept(db: Database, organisation_id: str, once: Once) -> Kept | None:
    """What stands under the key, or None when it was let go meanwhile."""
    row = await db.fetchrow(
        """
        select request_hash = $5 as same, status, answer, extract(epoch from locked_until - now())::float8 as wait_s
        from idempotency_keys
        where organisation_id = $1 and credential = $2 and route = $3 and key_hash = $4 and expires_at > now()
        """,
        organisation_id,
        once.credential,
        once.route,
        once.key_hash,
        once.request_hash,
    )
    return None if row is None else Kept(**dict(row))


async def keep(db: Database, organisation_id: str, once: Once, status: int, answer: bytes) -> None:
    """Write down what was answered."""
    await db.execute(
        """
        update idempotency_keys set status = $5, answer = $6
        where organisation_id = $1 and credential = $2 and route = $3 and key_hash = $4 and status is null
        """,
        organisation_id,
        once.credential,
        once.route,
        once.key_hash,
        status,
        answer,
    )


async def hold(db: Database, organisation_id: str, once: Once) -> None:
    """Say that the request is still worked on."""
    await db.execute(
        """
        update idempotency_keys set locked_until = now() + $5 * interval '1 second'
        where organisation_id = $1 and credential = $2 and route = $3 and key_hash = $4 and status is null
        """,
        organisation_id,
        once.credential,
        once.route,
        once.key_hash,
        LOCK_S,
    )


async def release(db: Database, organisation_id: str, once: Once) -> None:
    """Let the key go: the request had no effect and may be sent again."""
    await db.execute(
        """
        delete from idempotency_keys
        where organisation_id = $1 and credential = $2 and route = $3 and key_hash = $4 and status is null
              and run_id is null
        """,
        organisation_id,
        once.credential,
        once.route,
        once.key_hash,
    )


async def sweep(db: Database) -> bool:
    """Forget expired keys; whether there may be more."""
    done = await db.execute(
        """
        delete from idempotency_keys where ctid = any(array(
          select ctid from idempotency_keys where expires_at <= now() limit $1))
        """,
        SWEPT,
    )
    return done == f"DELETE {SWEPT}"
