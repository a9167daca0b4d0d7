"""Organisations, their members, invitations and logins, and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Label, Name, Request, Role

Email = Annotated[str, Meta(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")]
SHORTEST_PASSWORD: Final = 10
Password = Annotated[str, Meta(min_length=SHORTEST_PASSWORD, max_length=1000)]
"""A new password."""
NodeClass = Annotated[str, Meta(min_length=1, max_length=300)]
NodeClasses = Annotated[list[NodeClass], Meta(max_length=2000)]


class Member(Struct, omit_defaults=True):
    """A user's place in an organisation. id is the user's."""

    id: str
    email: str
    role: Role
    joined_at: datetime
    name: str = ""
    last_seen_at: datetime | None = None


class MemberUpdate(Request):
    """Body of PATCH /members/{id}."""

    role: Role


class InvitationCreate(Request):
    """Body of POST /invitations. The role cannot exceed the caller's own."""

    email: Email
    role: Role = "developer"


class Invitation(Struct, omit_defaults=True):
    """Somebody asked to join. `token` is present only in the answer that made it."""

    id: str
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None = None
    revoked_at: datetime | None = None
    token: str | None = None


class InvitationAccept(Request):
    """Body of POST /auth/accept-invitation. Who has an account already gives its password."""

    token: Annotated[str, Meta(max_length=200)]
    password: Annotated[str, Meta(max_length=1000)]
    name: Annotated[str, Meta(max_length=200)] = ""


class PasswordChange(Request):
    """Body of POST /auth/password."""

    current_password: Annotated[str, Meta(max_length=1000)]
    new_password: Password


class Session(Struct, omit_defaults=True):
    """A login. current: the one that asks."""

    id: str
    user_id: str
    email: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    user_agent: str = ""
    current: bool = False


class NodePolicy(Request):
    """Which node classes an organisation lets run. A `*` at the end stands for any rest.

    allow left out or empty: all; deny goes before allow.
    """

    allow: NodeClasses = field(default_factory=list)
    deny: NodeClasses = field(default_factory=list)


class Organisation(Struct):
    """A team: the border of everything."""

    id: str
    name: str
    slug: str
    created_at: datetime
    node_policy: NodePolicy


class OrganisationUpdate(Request):
    """Body of PATCH /organisation; what is left out stays."""

    name: Name | None = None
    node_policy: NodePolicy | None = None


class AuditEntry(Struct):
    """Who did what to what. actor: user:<id>, key:<id>, machine:<id> or system."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class SecretSet(Request):
    """Body of PUT /organisation/secrets/{name}. machines: the labels of those that it is given to, {}: to all.

    Left out or null: to none.
    """

    value: Annotated[str, Meta(min_length=1, max_length=65536)]
    machines: dict[Label, Label] | None = None


class SecretInfo(Struct, omit_defaults=True):
    """A secret without its value, which is never shown."""

    name: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    machines: dict[str, str] | None = None
