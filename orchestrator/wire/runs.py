"""Runs, their attempts, outputs and live events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Label, Request, RunStatus


class RunCreate(Request):
    """Body of POST /runs: exactly one of deployment_id and version_id.

    An input's value is text, a number, a boolean, a list, `{"file_id": id}` or a URL for an image.
    """

    deployment_id: str | None = None
    version_id: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    webhook_url: Annotated[str, Meta(max_length=2000)] | None = None
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    timeout_s: Annotated[int, Meta(ge=1, le=86400)] | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    pool: dict[Label, Label] = field(default_factory=dict)


class RunAccepted(Struct):
    """202: the run is stored and will end exactly once."""

    id: str
    status: RunStatus
    url: str


class Attempt(Struct, omit_defaults=True):
    """One try at a run on one machine."""

    id: str
    number: int
    machine_id: str
    machine_name: str
    state: Literal["placed", "claimed", "ended"]
    created_at: datetime
    outcome: str | None = None
    failure: dict[str, Any] | None = None
    timings: dict[str, float] | None = None
    claimed_at: datetime | None = None
    ended_at: datetime | None = None


class RunOutput(Struct, omit_defaults=True):
    """One output. url is signed and expires; data holds a value that is not a file."""

    node_id: str
    kind: str
    file_id: str | None = None
    name: str | None = None
    content_type: str | None = None
    size: int | None = None
    sha256: str | None = None
    url: str | None = None
    data: Any = None


class Run(Struct, omit_defaults=True):
    """A run. waiting_reason says why nobody has taken it; failure says why it ended badly."""

    id: str
    status: RunStatus
    workflow_id: str
    version_id: str
    created_at: datetime
    revision: int
    attempts: int = 0
    max_attempts: int = 3
    priority: int = 0
    deployment_id: str | None = None
    machine_id: str | None = None
    machine_name: str | None = None
    inputs: dict[str, Any] = {}
    failure: dict[str, Any] | None = None
    waiting_reason: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    running_at: datetime | None = None
    uploading_at: datetime | None = None
    ended_at: datetime | None = None
    progress: float | None = None
    progress_text: str | None = None
    outputs: list[RunOutput] | None = None
    attempt_list: list[Attempt] | None = None


class RunEvent(Struct, omit_defaults=True):
    """One line of a run's history; also an SSE event `status`, whose id is the revision."""

    run_id: str
    revision: int
    status: RunStatus
    at: datetime
    attempt: int = 0
    machine_id: str | None = None
    reason: str | None = None


class ProgressEvent(Struct, omit_defaults=True):
    """Live progress, an SSE event `progress`; never stored. value is 0..1."""

    run_id: str
    value: float
    node_id: str | None = None
    node_type: str | None = None
    text: str = ""
