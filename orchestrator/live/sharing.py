"""A share's link followed: who may use it, the run started through it, and the token that shows who started it.

It knows no HTTP. What a visitor may is decided by runs/sharing.py.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Any, Final

from orchestrator.auth import Principal
from orchestrator.credentials import derive
from orchestrator.errors import Forbidden, Invalid, NotFound, Unauthorized
from orchestrator.live.parts import Parts
from orchestrator.live.shown import shown_run
from orchestrator.live.starting import Order, start
from orchestrator.runs.sharing import Admission, admit, refuse_files
from orchestrator.store import shares
from orchestrator.store.ids import digest, token
from orchestrator.store.shares import Found
from orchestrator.wire import Run, Scope

SLUG_LENGTH: Final = 32
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{5,62}")


async def follow(parts: Parts, slug: str, principal: Principal | None, scope: Scope) -> tuple[Found, Admission]:
    """The link and how the caller may use it. Raises NotFound, Unauthorized, Forbidden."""
    found = await shares.by_slug(parts.db, slug) if _SLUG.fullmatch(slug) else None
    visitor = None if principal is None else principal.organisation_id
    owner, visibility = (None, None) if found is None else (found.organisation_id, found.visibility)
    admission = admit(visitor, owner, visibility, guests=parts.config.public_share_runs > 0)
    if admission == "log-in":
        raise Unauthorized("the link leads nowhere, or is for those who are logged in")
    if found is None or admission == "stranger":
        raise NotFound("there is no such link", code="share_not_found")
    if admission == "member" and principal is not None:
        _check(principal, found, scope)
    return found, admission


def _check(principal: Principal, found: Found, scope: Scope) -> None:
    """A key of the team is held to its scopes and deployments here as everywhere."""
    if principal.scopes is not None and scope not in principal.scopes:
        raise Forbidden(f"this needs the scope {scope}; the key has not been given it", code="scope_missing")
    principal.check_run(found.deployment_id)


async def run_through(
    parts: Parts, found: Found, admission: Admission, principal: Principal | None, inputs: dict[str, Any]
) -> str:
    """Start a run of what is shared; returns its id. Raises Invalid."""
    member = principal if admission == "member" else None
    if member is None:
        errors = refuse_files(inputs)
        if errors:
            raise Invalid(f"{errors[0].path}: {errors[0].message}", errors=errors)
    order = Order(
        organisation_id=found.organisation_id,
        deployment_id=found.deployment_id,
        created_by=member.user_id if member else None,
        inputs=inputs,
        origin="public-share" if found.visibility == "public" else "manual",
        api_key_id=member.key_id if member else None,
    )
    return (await start(parts, order)).id


def new_slug() -> str:
    """One that nobody can guess."""
    return digest(token("share")).hex()[:SLUG_LENGTH]


def token_of(secret: bytes, found: Found, run_id: str) -> str:
    """What its starter holds to look at the run: bound to the link and the run, kept nowhere."""
    signed = hmac.digest(derive(secret, "share-run"), f"{found.id} {run_id}".encode(), "sha256")
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


async def run_of(parts: Parts, secret: bytes, found: Found, run_id: str, shown: str) -> Run:
    """The run that was started through the link by the token's holder. Raises NotFound."""
    fits = hmac.compare_digest(token_of(secret, found, run_id).encode(), shown.encode("utf-8", "replace"))
    run = await shown_run(parts.db, parts.files, found.organisation_id, run_id) if fits else None
    if run is None:
        raise NotFound(f"there is no run {run_id}", code="run_not_found")
    return run
