"""Logins, keys and who is asking."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from orchestrator.wire.base import Name, Request, Role, Scope


class Login(Request):
    """Body of POST /auth/login. organisation is a slug; left out: the user's first."""

    email: str
    password: str
    organisation: str | None = None


class Refresh(Request):
    """Body of POST /auth/refresh and /auth/logout."""

    refresh_token: str


class Tokens(Struct):
    """A login: a short-lived access token and a refresh token that works once."""

    access_token: str
    refresh_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  the scheme, not a secret


class Me(Struct, omit_defaults=True):
    """Who the credential stands for."""

    organisation_id: str
    organisation: str
    role: Role
    user_id: str | None = None
    email: str | None = None
    api_key_id: str | None = None


class ApiKeyCreate(Request):
    """Body of POST /api-keys. Nothing can exceed the caller's own; scopes and deployments left out are the caller's.

    scopes narrow what the role allows. deployment_ids: the only deployments whose runs it may start and see.
    """

    name: Name
    role: Role = "developer"
    expires_at: datetime | None = None
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=50)] | None = None
    deployment_ids: Annotated[list[UUID], Meta(min_length=1, max_length=100)] | None = None


class ApiKeyRotate(Request):
    """Body of POST /api-keys/{id}/rotate. The key that stood so far works for another grace_s seconds."""

    grace_s: Annotated[int, Meta(ge=0, le=30 * 86400)] = 0


class ApiKey(Struct, omit_defaults=True):
    """An API key without its secret. `key` is present only in the answer that made it."""

    id: str
    name: str
    hint: str
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    scopes: list[Scope] | None = None
    deployment_ids: list[str] | None = None
    previous_until: datetime | None = None
    key: str | None = None
