"""The audit log's rows: who did what to which thing, written in the transaction that does it, and read by the team."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct

from orchestrator.store.db import Database
from orchestrator.store.ids import uuid7
from orchestrator.wire import AuditEntry

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection


async def record(
    connection: AnyConnection, organisation_id: str, actor: str, action: str, subject: str, **detail: Any
) -> None:
    """Append one row. actor: "user:<id>", "key:<id>", "machine:<id>", "system"; subject: "machine:<id>"..."""
    await connection.execute(
        """
        insert into audit_log (id, organisation_id, actor, action, subject, detail)
        values ($1, $2, $3, $4, $5, $6)
        """,
        uuid7(),
        organisation_id,
        actor,
        action,
        subject,
        detail,
    )


class Wanted(Struct, frozen=True):
    """Which entries; None: any. An action that ends in a dot stands for all that begin with it."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def page(db: Database, organisation_id: str, wanted: Wanted, after: UUID | None, limit: int) -> list[AuditEntry]:
    """Entries, newest first."""
    rows = await db.fetch(
        """
        select id::text, at, actor, action, subject, detail from audit_log
        where organisation_id = $1 and ($2::uuid is null or id < $2) and ($3::text is null or actor = $3)
              and ($4::text is null or action = $4 or (right($4, 1) = '.' and starts_with(action, $4)))
              and ($5::text is null or subject = $5)
              and ($6::timestamptz is null or at >= $6) and ($7::timestamptz is null or at < $7)
        order by id desc limit $8
        """,
        organisation_id,
        after,
        wanted.actor,
        wanted.action,
        wanted.subject,
        wanted.since,
        wanted.until,
        limit,
    )
    return [AuditEntry(**dict(row)) for row in rows]
