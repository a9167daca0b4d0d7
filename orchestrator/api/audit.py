"""GET /api/v1/audit: who did what in the organisation. Entries are written where things are done, in the store."""

from __future__ import annotations

from typing import Annotated

from litestar import Router, get
from litestar.params import Parameter

from orchestrator.api.params import Cursor, Limit, Moment, moment
from orchestrator.api.problems import documented
from orchestrator.auth import Principal, requires
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import audit
from orchestrator.store.db import Database
from orchestrator.wire import AuditEntry, Page

Actor = Annotated[str | None, Parameter(max_length=200, description="user:<id>, key:<id>, machine:<id> or system.")]
Action = Annotated[str | None, Parameter(max_length=200, description="`member.invite`, or `member.` for all of them.")]
Subject = Annotated[str | None, Parameter(max_length=200, description="What it was done to: machine:<id>.")]


@get(
    operation_id="list_audit_entries",
    summary="Who did what",
    opt=requires("admin", "audit:read"),
    responses=documented(400, 403),
)
async def list_entries(
    principal: Principal,
    db: Database,
    cursor: Cursor = None,
    limit: Limit = 20,
    actor: Actor = None,
    action: Action = None,
    subject: Subject = None,
    since: Moment = None,
    until: Moment = None,
) -> Page[AuditEntry]:
    """Newest first; not before `since`, and before `until`."""
    wanted = audit.Wanted(actor, action, subject, moment("since", since), moment("until", until))
    found = await audit.page(db, principal.organisation_id, wanted, decode_cursor(cursor), limit + 1)
    return page_of(found, limit)


routes = [Router("/api/v1/audit", route_handlers=[list_entries], tags=["audit"])]
