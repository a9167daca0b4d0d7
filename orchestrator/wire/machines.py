"""Machines and their agents' enrolment."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

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


class MachineUpdate(Request):
    """Body of PATCH /machines/{id}: what is left out stays."""

    name: Name | None = None
    labels: dict[Label, Label] | None = None


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
