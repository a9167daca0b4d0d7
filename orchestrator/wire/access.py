"""Logins, keys and who is asking."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from orchestrator.wire.base import Name, Request, Role


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
    """Body of POST /api-keys. The role cannot exceed the caller's own."""

    name: Name
    role: Role = "developer"
    expires_at: datetime | None = None


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
    key: str | None = None
