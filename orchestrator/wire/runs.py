"""Runs, their attempts, outputs and live events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Label, Request, RunStatus

RunOrigin = Literal["api", "manual", "retry", "public-share"]
Tag = Annotated[str, Meta(min_length=1, max_length=50)]
Tags = Annotated[list[Tag], Meta(max_length=20)]
MetadataName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
MetadataValue = Annotated[str, Meta(max_length=500)]
Metadata = Annotated[dict[MetadataName, MetadataValue], Meta(max_length=16)]
"""What a client wants to find a run by; it is kept with the run and told with it, and means nothing to us."""


class RunOptions(Request):
    """How runs are to be made, whatever they run. metadata stays as it is; tags are what people may change later."""

    webhook_url: Annotated[str, Meta(max_length=2000)] | None = None
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    timeout_s: Annotated[int, Meta(ge=1, le=86400)] | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    pool: dict[Label, Label] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    tags: Tags | None = None


class RunCreate(RunOptions):
    """Body of POST /runs: exactly one of deployment_id and version_id.

    An input's value is text, a number, a boolean, a list, `{"file_id": id}` or a URL for an image.
    """

    deployment_id: str | None = None
    version_id: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)


class DeploymentRun(RunOptions):
    """Body of POST /deployments/{id}/runs: as RunCreate, of this deployment."""

    inputs: dict[str, Any] = field(default_factory=dict)


class RunUpdate(Request):
    """Body of PATCH /runs/{id}: what people note about a run. What is left out stays."""

    favourite: bool | None = None
    note: Annotated[str, Meta(max_length=2000)] | None = None
    tags: Tags | None = None


class BatchCreate(RunOptions):
    """Body of POST /runs/batch: one run for each of `inputs`, or for each combination of `input_grid`.

    common_inputs are laid under every run's own. The rest holds for every run.
    """

    deployment_id: str | None = None
    version_id: str | None = None
    inputs: list[dict[str, Any]] | None = None
    input_grid: dict[str, list[Any]] | None = None
    common_inputs: dict[str, Any] = field(default_factory=dict)


class BatchAccepted(Struct):
    """202: every run of the batch is stored. run_ids are in the order of the inputs."""

    id: str
    total: int
    run_ids: list[str]
    url: str


class Batch(Struct, omit_defaults=True):
    """A batch and how its runs stand: how many of each status, and how many have ended.

    total counts those that were started; runs that the retention deleted are in no other number.
    """

    id: str
    total: int
    created_at: datetime
    ended: int = 0
    counts: dict[str, int] = {}
    deployment_id: str | None = None


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
    origin: RunOrigin = "api"
    batch_id: str | None = None
    retry_of: str | None = None
    favourite: bool = False
    note: str = ""
    tags: list[str] = []
    metadata: dict[str, str] = {}


class LogPart(Struct, omit_defaults=True):
    """Some lines that an executor wrote while it worked on a run; live, an SSE event `log`."""

    id: str
    run_id: str
    attempt_id: str
    at: datetime
    lines: list[str]


class Phase(Struct):
    """One stretch of a run's time. The last one of a run that has not ended is open: it lasts until now."""

    name: Literal["waiting", "placed", "preparing", "running", "uploading"]
    begin: datetime
    end: datetime | None
    duration_ms: int


class AttemptTimeline(Struct, omit_defaults=True):
    """The phases of one attempt. What its machine measured is in ms: wait is the wait for its executor to start."""

    number: int
    phases: list[Phase]
    machine_id: str | None = None
    machine_name: str | None = None
    outcome: str | None = None
    fetch_ms: float | None = None
    cold_start_ms: float | None = None
    execute_ms: float | None = None
    upload_ms: float | None = None


class Timeline(Struct):
    """Where a run's time went: waiting for a machine (all waits together), and attempt by attempt."""

    run_id: str
    status: RunStatus
    total_ms: int
    waiting_ms: int
    attempts: list[AttemptTimeline]


class MachineFit(Struct, omit_defaults=True):
    """Whether a machine could take a run now; lacks says what stands against it."""

    machine_id: str
    name: str
    fits: bool
    lacks: str | None = None


class Placement(Struct, omit_defaults=True):
    """Why a run is on its machine, or why it waits. `why` is what counted when the machine was chosen.

    machines are looked at for a run that waits; at most 100 are listed, those that fit first.
    """

    run_id: str
    status: RunStatus
    reason: str
    attempt: int = 0
    machine_id: str | None = None
    machine_name: str | None = None
    why: dict[str, Any] | None = None
    machines: list[MachineFit] = []


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
    """Live progress, an SSE event `progress`; never stored. value is 0..1; step and steps are of the node at work."""

    run_id: str
    value: float
    node_id: str | None = None
    node_type: str | None = None
    text: str = ""
    nodes_done: int = 0
    nodes_total: int = 0
    step: int | None = None
    steps: int | None = None
