"""The caller's organisation under /api/v1/organisation: its name, its node policy, its logins, its secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from litestar import Response, Router, delete, get, patch, put
from litestar.params import Parameter

from orchestrator.api.etags import UNCHANGED, IfMatch, IfNoneMatch, expected, tagged
from orchestrator.api.params import Cursor, Limit
from orchestrator.api.problems import documented
from orchestrator.auth import Authenticator, Principal, actor_of, requires
from orchestrator.errors import Conflict, Forbidden, NotFound
from orchestrator.live.machine_secrets import check
from orchestrator.live.secret_values import SecretValues
from orchestrator.runs.access import RANK
from orchestrator.runs.paging import decode_cursor, page_of
from orchestrator.store import members, organisations, revisions
from orchestrator.store.db import Database
from orchestrator.vault import Vault
from orchestrator.wire import Organisation, OrganisationUpdate, Page, SecretInfo, SecretSet, Session

SecretName = Annotated[
    str, Parameter(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$", description="Letters, digits, `_`, `.` and `-`.")
]


def _gone() -> NotFound:
    return NotFound("the organisation is gone", code="organisation_not_found")


@get(
    operation_id="get_organisation",
    summary="My organisation",
    opt=requires("playground", "organisation:read"),
    responses={**documented(403, 404), **UNCHANGED},
)
async def get_organisation(
    principal: Principal, db: Database, if_none_match: IfNoneMatch = None
) -> Response[Organisation]:
    """The organisation of the credential; its ETag names this state of it."""
    return await _shown(db, principal, if_none_match)


async def _shown(db: Database, principal: Principal, if_none_match: str | None = None) -> Response[Organisation]:
    revision = await revisions.present(db, "organisation", principal.organisation_id, principal.organisation_id)
    found = await organisations.get(db, principal.organisation_id)
    if found is None:
        raise _gone()
    return tagged(found, revision, if_none_match=if_none_match)


@patch(
    operation_id="update_organisation",
    summary="Change my organisation",
    opt=requires("admin", "organisation:write"),
    responses=documented(400, 403, 404, 412),
)
async def update(
    data: OrganisationUpdate, principal: Principal, db: Database, if_match: IfMatch = None
) -> Response[Organisation]:
    """What is left out stays. A node policy holds for versions uploaded and runs started from now on."""
    if not await organisations.update(db, principal.organisation_id, data, principal.actor, expected(if_match)):
        raise _gone()
    return await _shown(db, principal)


@get(
    "/sessions",
    operation_id="list_sessions",
    summary="Everybody's logins",
    opt=requires("admin", "members:read"),
    responses=documented(400, 403),
)
async def list_sessions(principal: Principal, db: Database, cursor: Cursor = None, limit: Limit = 20) -> Page[Session]:
    """The open logins of all members, newest first."""
    found = await members.sessions(db, principal.organisation_id, None, decode_cursor(cursor), limit + 1)
    for session in found:
        session.current = session.id == principal.session_id
    return page_of(found, limit)


@delete(
    "/sessions/{session_id:uuid}",
    status_code=204,
    operation_id="end_session",
    summary="End somebody's login",
    opt=requires("admin", "members:write"),
    responses=documented(403, 404),
)
async def end_session(session_id: UUID, principal: Principal, db: Database, auth: Authenticator) -> None:
    """At once here and within seconds on other replicas. Only an owner ends an owner's."""
    owner = await members.owner_of_session(db, principal.organisation_id, session_id)
    if owner is None:
        raise NotFound(f"there is no login {session_id}", code="session_not_found")
    if RANK[owner[1]] > RANK[principal.role]:
        raise Forbidden(f"an {principal.role} cannot end the login of an {owner[1]}", code="owner_decides")
    await members.end_session(db, actor_of(principal), session_id)
    auth.forget(session_id=str(session_id))


@get(
    "/secrets",
    operation_id="list_secrets",
    summary="Names of secrets",
    opt=requires("developer", "organisation:read"),
    responses=documented(403),
)
async def list_secrets(principal: Principal, db: Database) -> Page[SecretInfo]:
    """By name, never with their values; all on one page."""
    return Page(await organisations.secrets(db, principal.organisation_id))


@put(
    "/secrets/{name:str}",
    operation_id="put_secret",
    summary="Set a secret",
    opt=requires("admin", "organisation:write"),
    responses=documented(400, 403, 409),
)
async def put_secret(
    name: SecretName,
    data: SecretSet,
    principal: Principal,
    db: Database,
    vault: Vault,
    on_machine_changed: Callable[[str], None],
) -> SecretInfo:
    """Kept encrypted; its value is never shown again.

    `machines`: machines with these labels give it to their executors, unless they have one of that name of their own.
    """
    if data.machines is not None:
        check(name, data.value)
    actor, values = principal.actor, SecretValues(db, vault)
    made = await values.set(principal.organisation_id, name, data.value, actor, data.machines)
    if made is None:
        most = f"{organisations.MOST_SECRETS} secrets, and gives machines at most {organisations.MOST_GIVEN}"
        raise Conflict(f"an organisation keeps at most {most}", code="too_many_secrets")
    on_machine_changed("")
    return made


@delete(
    "/secrets/{name:str}",
    status_code=204,
    operation_id="delete_secret",
    summary="Forget a secret",
    opt=requires("admin", "organisation:write"),
    responses=documented(403, 404),
)
async def delete_secret(
    name: SecretName, principal: Principal, db: Database, on_machine_changed: Callable[[str], None]
) -> None:
    """Its value is gone, and taken from the machines that were given it."""
    if not await organisations.delete_secret(db, principal.organisation_id, name, principal.actor):
        raise NotFound(f"there is no secret {name}", code="secret_not_found")
    on_machine_changed("")


routes = [
    Router(
        "/api/v1/organisation",
        route_handlers=[
            get_organisation,
            update,
            list_sessions,
            end_session,
            list_secrets,
            put_secret,
            delete_secret,
        ],
        tags=["organisation"],
    )
]
