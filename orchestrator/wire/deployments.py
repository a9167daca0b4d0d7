"""Deployments: a version made callable, how runs are divided between versions, and what it pointed to before."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from orchestrator.wire.base import Environment, Label, Request

Alias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Description = Annotated[str, Meta(max_length=2000)]
Percent = Annotated[int, Meta(ge=1, le=100)]


class SplitPart(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Another version that takes a share of the runs. version is told, and need not be given."""

    version_id: str
    percent: Percent
    version: int = 0


Split = Annotated[list[SplitPart], Meta(max_length=10)]


class DeploymentCreate(Request):
    """Body of POST /deployments: makes or moves the workflow's deployment of that environment.

    alias and description stay as they are when they are left out.
    """

    version_id: str
    environment: Environment = "production"
    machine_id: str | None = None
    pool: dict[Label, Label] = field(default_factory=dict)
    alias: Alias | None = None
    description: Description | None = None
    split: Split = field(default_factory=list)


class DeploymentUpdate(Request):
    """Body of PATCH /deployments/{id}: what is left out stays."""

    version_id: str | None = None
    machine_id: str | UnsetType | None = UNSET  # null unpins
    pool: dict[Label, Label] | None = None
    alias: Alias | UnsetType | None = UNSET  # null takes it away
    description: Description | None = None
    split: Split | None = None


class Deployment(Struct, omit_defaults=True):
    """A version made callable, and the machines that may run it. Its ETag is its revision."""

    id: str
    workflow_id: str
    workflow_name: str
    version_id: str
    version: int
    environment: Environment
    created_at: datetime
    updated_at: datetime
    machine_id: str | None = None
    pool: dict[str, str] = {}
    alias: str | None = None
    description: str = ""
    split: list[SplitPart] = []
    revision: int = 0


class Promotion(Request):
    """Body of POST /deployments/{id}/promote: the environment that shall run what this deployment runs."""

    environment: Environment


class Rollback(Request):
    """Body of POST /deployments/{id}/rollback: to this revision; left out: to what stood before the last change."""

    revision: Annotated[int, Meta(ge=1)] | None = None


class DeploymentRevision(Struct, omit_defaults=True):
    """What a deployment pointed to from a change on: who made it, and when."""

    id: str
    revision: int
    action: Literal["deploy", "change", "promote", "rollback"]
    version_id: str
    version: int
    actor: str
    created_at: datetime
    machine_id: str | None = None
    pool: dict[str, str] = {}
    split: list[SplitPart] = []
