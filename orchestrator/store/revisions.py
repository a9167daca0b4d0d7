"""Revisions of what people change: read for an ETag, and held while a change is made to what the caller last saw.

A trigger raises them with every change that somebody makes (schema.sql), whichever statement makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, LiteralString
from uuid import UUID

from orchestrator.errors import PreconditionFailed
from orchestrator.store.db import Database

if TYPE_CHECKING:
    from orchestrator.store.db import AnyConnection

Kind = Literal["machine", "webhook", "API key", "member", "organisation", "run"]
_SQL: Final[dict[Kind, LiteralString]] = {
    "machine": "select revision from machines where organisation_id = $1 and id = $2 and deleted_at is null",
    "webhook": "select revision from webhook_endpoints where organisation_id = $1 and id = $2",
    "API key": "select revision from api_keys where organisation_id = $1 and id = $2",
    "member": "select revision from memberships where organisation_id = $1 and user_id = $2",
    "organisation": "select revision from organisations where id = $1 and id = $2",
    "run": "select revision from run_marks where organisation_id = $1 and run_id = $2",
}
"""By organisation and id. Of a run it is what people noted about it that changes: without a note it is at 0."""


async def present(db: Database, kind: Kind, organisation_id: str, thing_id: UUID | str) -> int:
    """The revision now; 0: there is none. Ask before the thing itself is read, so that it is never too new."""
    return int(await db.fetchval(_SQL[kind], organisation_id, thing_id) or 0)


async def hold(
    connection: AnyConnection, kind: Kind, organisation_id: str, thing_id: UUID | str, expected: int | None
) -> None:
    """Hold a thing against other changes, if it is at the expected revision. Raises PreconditionFailed.

    A thing that is not there is held by nobody: whoever changes it finds that out.
    """
    if expected is None:
        return
    found = await connection.fetchval(_SQL[kind] + " for update", organisation_id, thing_id)
    if found not in (None, expected):
        raise changed_meanwhile(kind, found)


def changed_meanwhile(kind: Kind, revision: int) -> PreconditionFailed:
    """What a caller is told who saw another revision."""
    return PreconditionFailed(f'the {kind} was changed meanwhile: its ETag begins with "{revision}" now')
