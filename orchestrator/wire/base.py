"""What all bodies have in common: names, roles, kinds, states, the request base and a page of a list."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Label = Annotated[str, Meta(max_length=200)]
Role = Literal["owner", "admin", "developer", "viewer", "playground"]
MachineKind = Literal["classic", "runpod-serverless", "modal-serverless", "comfy-deploy-serverless"]
MachineState = Literal["pending", "ready", "draining", "quarantined", "deleted"]
Environment = Literal["production", "staging", "preview", "public-share", "private-share"]
Resource = Literal[
    "runs", "workflows", "deployments", "machines", "files", "webhooks", "shares",
    "keys", "members", "organisation", "usage", "audit",
]  # fmt: skip
Scope = Literal[
    "runs:read", "runs:write",
    "workflows:read", "workflows:write",
    "deployments:read", "deployments:write",
    "machines:read", "machines:write",
    "files:read", "files:write",
    "webhooks:read", "webhooks:write",
    "shares:read", "shares:write",
    "keys:read", "keys:write",
    "members:read", "members:write",
    "organisation:read", "organisation:write",
    "usage:read", "usage:write",
    "audit:read", "audit:write",
]  # fmt: skip
"""What a key may do, as resource:action: `runs:write`. Writing a resource does not include reading it."""
RunStatus = Literal[
    "not-started", "queued", "started", "running", "uploading", "success", "failed", "timeout", "cancelled"
]

T = TypeVar("T")


class Request(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of every request body: an unknown field is an error that names it."""


class Page(Struct, Generic[T]):
    """One page of a list, newest first. next_cursor is absent on the last page."""

    items: list[T]
    next_cursor: str | None = None
