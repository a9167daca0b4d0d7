"""Machines and their agents' enrolment."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Label, MachineKind, MachineState, Name, Request


class MachineCreate(Request):
    """Body of POST /machines. labels are matched against a deployment's pool.

    endpoint: of a ComfyUI with the comfyui-deploy plugin, that runs are pushed to; an administrator may let it lie at a
    private address (endpoint_private).
    """

    name: Name
    kind: MachineKind = "classic"
    labels: dict[Label, Label] = field(default_factory=dict)
    endpoint: str | None = None
    endpoint_private: bool = False


class MachinePolicy(Request, omit_defaults=True):
    """What a machine may be given. Null or left out: no bound, or the installation's default.

    max_run_s: no attempt takes longer here. quarantine_after: so many runs that fail in a row by its own fault take it
    out of use (0: never). version_ids: it takes runs of these versions only.
    """

    max_run_s: Annotated[int, Meta(ge=1, le=86400)] | None = None
    quarantine_after: Annotated[int, Meta(ge=0, le=1000)] | None = None
    version_ids: Annotated[list[UUID], Meta(min_length=1, max_length=100)] | None = None


class MachineUpdate(Request):
    """Body of PATCH /machines/{id}: what is left out stays; a policy is set whole."""

    name: Name | None = None
    labels: dict[Label, Label] | None = None
    policy: MachinePolicy | None = None


class Quarantine(Request):
    """Body of POST /machines/{id}/quarantine."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


MachineEventKind = Literal[
    "registered", "enrolled", "connected", "disconnected", "drained", "undrained", "quarantined", "released",
    "changed", "inventory_changed", "deleted", "secrets_changed",
]  # fmt: skip


class MachineVersion(Struct, omit_defaults=True):
    """What a machine was from created_at until its next version; it never changes. inventory: not in lists."""

    id: str
    number: int
    created_at: datetime
    hash: str
    kind: MachineKind
    agent_version: str
    labels: dict[str, str]
    policy: dict[str, Any]
    node_classes: int
    models: int
    packs: int
    endpoint: str | None = None
    inventory: dict[str, Any] | None = None


class MachineSecretSet(Request):
    """Body of PUT /machines/{id}/secrets/{name}. A shorter value could not be hidden in what runs write."""

    value: Annotated[str, Meta(min_length=8, max_length=16384)]


class MachineSecret(Struct):
    """A machine's secret without its value, which is never shown. Equal fingerprints: equal values."""

    name: str
    fingerprint: str
    created_by: str
    created_at: datetime
    updated_at: datetime


class MachineLogPart(Struct):
    """Some lines of its agent's own log."""

    id: str
    at: datetime
    lines: list[str]


class MachineEvent(Struct, omit_defaults=True):
    """Something that happened to a machine. detail says what of it is to be told."""

    id: str
    kind: MachineEventKind
    at: datetime
    detail: dict[str, Any] = {}


class EnrolToken(Struct):
    """A one-time token for `python -m machine_agent enrol`; command is ready to paste."""

    token: str
    machine_id: str
    expires_at: datetime
    command: str


class Machine(Struct, omit_defaults=True):
    """A machine. inventory is what its agent reported (drivers.wire.Inventory)."""

    id: str
    name: str
    kind: MachineKind
    state: MachineState
    created_at: datetime
    connected: bool
    slots: int = 0
    used_slots: int = 0
    labels: dict[str, str] = {}
    endpoint: str | None = None
    agent_version: str = ""
    seen_at: datetime | None = None
    enrolled_at: datetime | None = None
    inventory: dict[str, Any] = {}
    endpoint_private: bool = False
    policy: dict[str, Any] = {}
    quarantined_at: datetime | None = None
    quarantine_reason: str | None = None
