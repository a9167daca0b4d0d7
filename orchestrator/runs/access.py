"""Who may do what: the ranks of roles, and what one credential may hand on to another. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from msgspec import Struct

from orchestrator.wire import Role

RANK: Final[dict[Role, int]] = {"playground": 0, "viewer": 1, "developer": 2, "admin": 3, "owner": 4}


class Grant(Struct, frozen=True):
    """What a credential may do: a role, narrowed to some scopes and to some deployments. None: not narrowed."""

    role: Role
    scopes: frozenset[str] | None = None
    deployment_ids: frozenset[str] | None = None


def excess(holder: Grant, other: Grant) -> str | None:
    """What `other` may do and its `holder` may not, in words; None: nothing."""
    if RANK[other.role] > RANK[holder.role]:
        return f"the role {other.role}: yours is {holder.role}"
    beyond = _beyond(holder.scopes, other.scopes)
    if beyond is not None:
        return f"{beyond or 'every scope'}: yours are {', '.join(sorted(holder.scopes or ()))}"
    if _beyond(holder.deployment_ids, other.deployment_ids) is not None:
        return "deployments that are not yours to run"
    return None


def _beyond(held: frozenset[str] | None, wanted: frozenset[str] | None) -> str | None:
    """The first that is wanted and not held; empty: all are wanted, but not all are held; None: nothing."""
    if held is None:
        return None
    if wanted is None:
        return ""
    return min(wanted - held, default=None)


def handed_on(
    holder: Grant, role: Role, scopes: Collection[str] | None, deployment_ids: Collection[str] | None
) -> Grant:
    """The grant of a key that the holder makes: what is left out is the holder's own."""
    return Grant(
        role,
        holder.scopes if scopes is None else frozenset(scopes),
        holder.deployment_ids if deployment_ids is None else frozenset(deployment_ids),
    )


Stays = Literal["owner_decides", "last_owner"]


def why_member_stays(actor: Role, present: Role, wanted: Role | None, other_owners: int) -> Stays | None:
    """Why a member's role may not become `wanted` (None: removed) at the word of `actor`; None: it may.

    The last owner stays, and only an owner decides about owners.
    """
    if "owner" in (present, wanted) and actor != "owner":
        return "owner_decides"
    if present == "owner" and wanted != "owner" and other_owners == 0:
        return "last_owner"
    return None
