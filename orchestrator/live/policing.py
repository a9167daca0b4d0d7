"""An organisation's node policy, held to where versions come in and where runs start. The rule is runs/policy.py."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.errors import Invalid
from orchestrator.runs.policy import errors_of, forbidden
from orchestrator.store import organisations
from orchestrator.store.db import Database


async def refuse_forbidden(db: Database, organisation_id: str, classes: Iterable[str]) -> None:
    """Raise Invalid (node_forbidden) that names each node class which the policy does not let run."""
    found = forbidden(await organisations.policy_of(db, organisation_id), classes)
    if found:
        detail = f"the organisation's node policy forbids {', '.join(found[:5])}"
        raise Invalid(detail, code="node_forbidden", errors=errors_of(found))
