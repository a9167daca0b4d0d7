"""The audit log's rows: who did what to which thing, written in the transaction that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.store.ids import uuid7

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
