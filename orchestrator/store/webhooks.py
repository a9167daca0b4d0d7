"""Webhook endpoints, the outbox and its deliveries in SQL. It knows no HTTP and decides nothing.

Messages enter the outbox in the statement that changes their run (the ledger). Here they are claimed, moved on by what
came of a try, listed and replayed. A claim is a lease: it pushes next_at forward, so a replica that dies in the middle
of a try loses nothing; the message is sent again under the same id.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, LiteralString, cast
from uuid import UUID

from msgspec import Struct

from orchestrator.runs.state import Status
from orchestrator.runs.webhooks import Again, Dead, Decision, Delivered
from orchestrator.store import audit, revisions
from orchestrator.store.ids import new_id
from orchestrator.wire import Delivery, DeliveryTry

if TYPE_CHECKING:
    from asyncpg import Record

    from orchestrator.store.db import Database

LOOKAHEAD = 1000


class Endpoint(Struct, frozen=True):
    """A webhook endpoint of an organisation."""

    id: str
    organisation_id: str
    url: str
    events: list[str]
    secret_generation: int
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None


class Due(Struct, frozen=True):
    """A claimed message. key tells receivers apart; url None: the run or its URL is gone; shape: in whose words."""

    id: str
    organisation_id: str
    run_id: str
    status: Status
    event_type: str
    endpoint_id: str | None
    tries: int
    created_at: datetime
    key: str
    url: str | None
    secret_generation: int
    disabled: bool
    shape: str | None = None

    @property
    def subject(self) -> str:
        """Whose secret signs it: the endpoint's, or the organisation's for a run's own URL."""
        return self.endpoint_id or self.organisation_id


class Curious(Struct, frozen=True):
    """A run that goes on, whose own webhook wants to be told of progress."""

    run_id: str
    organisation_id: str
    status: str
    url: str


async def curious(db: Database, run_ids: list[str]) -> list[Curious]:
    """Those of the runs."""
    rows = await db.fetch(
        """
        select id, organisation_id, status::text as status, webhook_url from runs
        where id = any($1::uuid[]) and webhook_shape = 'comfydeploy-intermediate' and ended_at is null
          and webhook_url is not null
        """,
        run_ids,
    )
    return [Curious(str(row["id"]), str(row["organisation_id"]), row["status"], row["webhook_url"]) for row in rows]


class Try(Struct, frozen=True):
    """What is kept of one try."""

    url: str
    response_code: int | None
    error: str | None
    duration_ms: int


async def add_endpoint(
    db: Database, organisation_id: str, url: str, events: list[str], actor: str, *, most: int
) -> Endpoint | None:
    """Store a new endpoint; None when the organisation has `most` of them already."""
    async with db.transaction() as connection:
        row = await connection.fetchrow(
            """insert into webhook_endpoints (id, organisation_id, url, events)
               select $1, $2, $3, $4
               where (select count(*) from webhook_endpoints where organisation_id = $2) < $5 returning *""",
            new_id(),
            organisation_id,
            url,
            events,
            most,
        )
        if row is None:
            return None
        subject = f"webhook:{row['id']}"
        await audit.record(connection, organisation_id, actor, "webhook.create", subject, url=url, events=events)
    return _endpoint(row)


async def endpoints(db: Database, organisation_id: str, before: UUID | None, limit: int) -> list[Endpoint]:
    """Endpoints, newest first, older than the one with the id `before`."""
    rows = await db.fetch(
        """select * from webhook_endpoints
           where organisation_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3""",
        organisation_id,
        before,
        limit,
    )
    return [_endpoint(row) for row in rows]


async def endpoint(db: Database, organisation_id: str, endpoint_id: UUID) -> Endpoint | None:
    """One endpoint of the organisation."""
    row = await db.fetchrow(
        "select * from webhook_endpoints where organisation_id = $1 and id = $2", organisation_id, endpoint_id
    )
    return None if row is None else _endpoint(row)


async def remove_endpoint(
    db: Database, organisation_id: str, endpoint_id: UUID, actor: str, expected: int | None = None
) -> bool:
    """Delete an endpoint with its messages; False: the organisation has no such one. Raises PreconditionFailed."""
    sql: LiteralString = "delete from webhook_endpoints where organisation_id = $1 and id = $2 returning *"
    return await _change(db, sql, organisation_id, endpoint_id, actor, "webhook.delete", expected) is not None


async def rotate_secret(db: Database, organisation_id: str, endpoint_id: UUID, actor: str) -> Endpoint | None:
    """Give an endpoint its next secret: whatever is sent from now on is signed with it."""
    sql: LiteralString = """update webhook_endpoints set secret_generation = secret_generation + 1
                            where organisation_id = $1 and id = $2 returning *"""
    return await _change(db, sql, organisation_id, endpoint_id, actor, "webhook.rotate")


async def enable_endpoint(db: Database, organisation_id: str, endpoint_id: UUID, actor: str) -> Endpoint | None:
    """Let a disabled endpoint receive messages again."""
    sql: LiteralString = """update webhook_endpoints set disabled_at = null, disabled_reason = null
                            where organisation_id = $1 and id = $2 returning *"""
    return await _change(db, sql, organisation_id, endpoint_id, actor, "webhook.enable")


async def disable_endpoint(db: Database, organisation_id: str, endpoint_id: UUID, actor: str) -> Endpoint | None:
    """Tell an endpoint nothing more until it is enabled; what waits for it waits on."""
    sql: LiteralString = """update webhook_endpoints
                            set disabled_at = coalesce(disabled_at, now()),
                                disabled_reason = coalesce(disabled_reason, 'disabled by hand')
                            where organisation_id = $1 and id = $2 returning *"""
    return await _change(db, sql, organisation_id, endpoint_id, actor, "webhook.disable")


class EndpointChange(Struct, frozen=True):
    """Where an endpoint is from now on, and what it is told; None: that stays."""

    url: str | None
    events: list[str] | None


async def update_endpoint(
    db: Database,
    organisation_id: str,
    endpoint_id: UUID,
    change: EndpointChange,
    actor: str,
    expected: int | None = None,
) -> Endpoint | None:
    """What waits for it goes to the new URL. None: there is no such endpoint. Raises PreconditionFailed."""
    async with db.transaction() as connection:
        await revisions.hold(connection, "webhook", organisation_id, endpoint_id, expected)
        row = await connection.fetchrow(
            """update webhook_endpoints set url = coalesce($3, url), events = coalesce($4::text[], events)
               where organisation_id = $1 and id = $2 returning *""",
            organisation_id,
            endpoint_id,
            change.url,
            change.events,
        )
        if row is None:
            return None
        subject, changed = f"webhook:{endpoint_id}", {"url": change.url, "events": change.events}
        await audit.record(connection, organisation_id, actor, "webhook.change", subject, **changed)
    return _endpoint(row)


async def _change(
    db: Database,
    sql: LiteralString,
    organisation_id: str,
    endpoint_id: UUID,
    actor: str,
    action: str,
    expected: int | None = None,
) -> Endpoint | None:
    async with db.transaction() as connection:
        await revisions.hold(connection, "webhook", organisation_id, endpoint_id, expected)
        row = await connection.fetchrow(sql, organisation_id, endpoint_id)
        if row is None:
            return None
        await audit.record(connection, organisation_id, actor, action, f"webhook:{endpoint_id}", url=row["url"])
    return _endpoint(row)


def _endpoint(row: Record) -> Endpoint:
    return Endpoint(
        id=str(row["id"]),
        organisation_id=str(row["organisation_id"]),
        url=row["url"],
        events=row["events"],
        secret_generation=row["secret_generation"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
    )


# A receiver is an endpoint, or the host in a run's own URL within one organisation. $1: receivers left out, $2 and $3:
# messages in flight per receiver, $4: most in flight per receiver, $5: most rows, $6: lease in seconds, $7: lookahead.
_CLAIM: LiteralString = """
with candidates as (
  select o.id, o.next_at, k.key
  from webhook_outbox o join runs r on r.id = o.run_id
  cross join lateral (
    select coalesce(
      o.endpoint_id::text,
      o.organisation_id || '@' || lower(split_part(split_part(coalesce(r.webhook_url, ''), '://', 2), '/', 1))
    ) as key
  ) k
  where o.state = 'pending' and o.next_at <= now() and k.key <> all($1::text[])
  order by o.next_at limit $7
), ranked as (
  select id, key, row_number() over (partition by key order by next_at, id) as place from candidates
), chosen as (
  select o.id, ranked.key
  from ranked
  join webhook_outbox o on o.id = ranked.id
  left join unnest($2::text[], $3::int[]) as flying(key, n) on flying.key = ranked.key
  where ranked.place <= $4::int - coalesce(flying.n, 0) and o.state = 'pending' and o.next_at <= now()
  order by o.next_at limit $5
  for update of o skip locked
), claimed as (
  update webhook_outbox o set next_at = now() + make_interval(secs => $6)
  from chosen where o.id = chosen.id
  returning o.*, chosen.key
)
select c.id, c.organisation_id, c.run_id, c.status::text, c.event_type, c.endpoint_id, c.tries, c.created_at, c.key,
       case when c.endpoint_id is null then r.webhook_url else e.url end as url,
       coalesce(e.secret_generation, 1) as secret_generation, e.disabled_at is not null as disabled,
       case when c.endpoint_id is null then r.webhook_shape end as shape
from claimed c join runs r on r.id = c.run_id left join webhook_endpoints e on e.id = c.endpoint_id
order by c.created_at, c.id
"""


async def due(
    db: Database,
    limit: int,
    *,
    lease_s: float,
    per_key: int,
    flying: dict[str, int] | None = None,
    skip: set[str] | None = None,
) -> list[Due]:
    """Claim messages whose time has come, at most limit in all and per_key in flight to one receiver.

    flying: how many the caller has in flight to each receiver; skip: receivers to leave out. A message claimed and not
    recorded within lease_s seconds is due again.
    """
    flying = flying or {}
    full = {key for key, n in flying.items() if n >= per_key}
    rows = await db.fetch(
        _CLAIM,
        sorted(full | (skip or set())),
        list(flying),
        list(flying.values()),
        per_key,
        limit,
        lease_s,
        LOOKAHEAD,
    )
    return [_due(row) for row in rows]


def _due(row: Record) -> Due:
    return Due(
        id=str(row["id"]),
        organisation_id=str(row["organisation_id"]),
        run_id=str(row["run_id"]),
        status=cast(Status, row["status"]),
        event_type=row["event_type"],
        endpoint_id=None if row["endpoint_id"] is None else str(row["endpoint_id"]),
        tries=row["tries"],
        created_at=row["created_at"],
        key=row["key"],
        url=row["url"],
        secret_generation=row["secret_generation"],
        disabled=row["disabled"],
        shape=row["shape"],
    )


async def record(db: Database, message: Due, made: Try, decision: Decision) -> None:
    """Write down a try and move its message on, both or neither.

    A message that somebody else moved meanwhile (the lease ran out, or it was replayed) stays as they left it, unless
    this try delivered it.
    """
    state = {Delivered: "delivered", Again: "pending", Dead: "dead"}[type(decision)]
    delay_s = decision.delay_s if isinstance(decision, Again) else 0.0
    async with db.transaction() as connection:
        await connection.execute(
            """with moved as (
                 update webhook_outbox
                 set state = $3::outbox_state, tries = $2 + 1, next_at = now() + make_interval(secs => $4),
                     delivered_at = case when $3::outbox_state = 'delivered' then now() end
                 where id = $1 and ((state = 'pending' and tries = $2) or
                                    (state <> 'delivered' and $3::outbox_state = 'delivered'))
               )
               insert into webhook_deliveries (id, outbox_id, organisation_id, url, response_code, error, duration_ms)
               select $5, id, organisation_id, $6, $7, $8, $9 from webhook_outbox where id = $1""",
            message.id,
            message.tries,
            state,
            delay_s,
            new_id(),
            made.url,
            made.response_code,
            made.error,
            made.duration_ms,
        )
        if isinstance(decision, Dead) and decision.disable and message.endpoint_id:
            await connection.execute(
                """update webhook_endpoints set disabled_at = now(), disabled_reason = $2
                   where id = $1 and disabled_at is null""",
                message.endpoint_id,
                decision.disable,
            )
            await connection.execute(
                "update webhook_outbox set state = 'dead' where endpoint_id = $1 and state = 'pending'",
                message.endpoint_id,
            )


async def deliveries(
    db: Database,
    organisation_id: str,
    *,
    before: UUID | None = None,
    limit: int = 50,
    run_id: UUID | None = None,
    state: str | None = None,
    only: UUID | None = None,
    endpoint_id: UUID | None = None,
) -> list[Delivery]:
    """Messages with their last try, newest first, older than the one with the id `before`; `only`: that one alone."""
    rows = await db.fetch(
        """select o.id, o.run_id, o.event_type, o.status::text, o.state::text, o.tries, o.created_at, o.delivered_at,
                  o.endpoint_id,
                  case when o.state = 'pending' then o.next_at end as next_at,
                  coalesce(e.url, r.webhook_url, t.url, '') as url, t.response_code, t.error
           from webhook_outbox o
           join runs r on r.id = o.run_id
           left join webhook_endpoints e on e.id = o.endpoint_id
           left join lateral (
             select url, response_code, error from webhook_deliveries d
             where d.outbox_id = o.id order by d.id desc limit 1
           ) t on true
           where o.organisation_id = $1 and ($2::uuid is null or o.id < $2)
             and ($4::uuid is null or o.run_id = $4) and ($5::outbox_state is null or o.state = $5)
             and ($6::uuid is null or o.id = $6) and ($7::uuid is null or o.endpoint_id = $7)
           order by o.id desc limit $3""",
        organisation_id,
        before,
        limit,
        run_id,
        state,
        only,
        endpoint_id,
    )
    return [_delivery(row) for row in rows]


def _delivery(row: Record) -> Delivery:
    return Delivery(
        id=str(row["id"]),
        run_id=str(row["run_id"]),
        event_type=row["event_type"],
        status=row["status"],
        url=row["url"],
        state=row["state"],
        tries=row["tries"],
        created_at=row["created_at"],
        next_at=row["next_at"],
        delivered_at=row["delivered_at"],
        response_code=row["response_code"],
        error=row["error"],
        webhook_id=None if row["endpoint_id"] is None else str(row["endpoint_id"]),
    )


async def tries_of(
    db: Database, organisation_id: str, outbox_id: UUID, before: UUID | None, limit: int
) -> list[DeliveryTry]:
    """The tries of a message, newest first."""
    rows = await db.fetch(
        """select id, at, url, duration_ms, response_code, error from webhook_deliveries
           where organisation_id = $1 and outbox_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4""",
        organisation_id,
        outbox_id,
        before,
        limit,
    )
    return [DeliveryTry(**{**dict(row), "id": str(row["id"])}) for row in rows]


async def replay_dead(
    db: Database, organisation_id: str, endpoint_id: UUID, actor: str, limit: int
) -> tuple[int, bool] | None:
    """Make an endpoint's dead messages due at once, oldest first: how many, and whether there are more.

    None: there is no such endpoint, or it is disabled.
    """
    async with db.transaction() as connection:
        enabled = await connection.fetchval(
            "select disabled_at is null from webhook_endpoints where organisation_id = $1 and id = $2",
            organisation_id,
            endpoint_id,
        )
        if not enabled:
            return None
        moved = await connection.fetch(
            """update webhook_outbox set state = 'pending', tries = 0, next_at = now()
               where id in (select id from webhook_outbox
                            where organisation_id = $1 and endpoint_id = $2 and state = 'dead' order by id limit $3)
               returning 1""",
            organisation_id,
            endpoint_id,
            limit,
        )
        subject, count = f"webhook:{endpoint_id}", len(moved)
        await audit.record(connection, organisation_id, actor, "webhook.replay_dead", subject, messages=count)
    return count, count == limit


async def replay(db: Database, organisation_id: str, outbox_id: UUID, actor: str) -> bool | None:
    """Make a message due at once, its tries counted anew. None: no such message; False: its endpoint is disabled."""
    async with db.transaction() as connection:
        row = await connection.fetchrow(
            """with found as (
                 select o.id, e.disabled_at from webhook_outbox o left join webhook_endpoints e on e.id = o.endpoint_id
                 where o.organisation_id = $1 and o.id = $2
               ), moved as (
                 update webhook_outbox o set state = 'pending', tries = 0, next_at = now(), delivered_at = null
                 from found where o.id = found.id and found.disabled_at is null
               )
               select disabled_at is null as moved from found""",
            organisation_id,
            outbox_id,
        )
        if row is None:
            return None
        if row["moved"]:
            await audit.record(connection, organisation_id, actor, "webhook.replay", f"delivery:{outbox_id}")
        return bool(row["moved"])
