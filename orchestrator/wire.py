"""The public wire: bodies of the native API under /api/v1, for the server, the SDK and the command line.

Plain data, msgspec only. Ids are strings (UUIDv7), times RFC 3339 in UTC, durations end in _s or _ms, sizes in bytes.
Requests refuse unknown fields; lists answer `{items, next_cursor}`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Label = Annotated[str, Meta(max_length=200)]
Role = Literal["owner", "admin", "developer", "viewer", "playground"]
MachineKind = Literal["classic", "runpod-serverless", "modal-serverless", "comfy-deploy-serverless"]
MachineState = Literal["pending", "ready", "draining", "deleted"]
Environment = Literal["production", "staging", "preview", "public-share", "private-share"]
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


# Authentication


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


# Machines


class MachineCreate(Request):
    """Body of POST /machines. labels are matched against a deployment's pool."""

    name: Name
    kind: MachineKind = "classic"
    labels: dict[Label, Label] = {}
    endpoint: str | None = None


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


# Workflows


class WorkflowCreate(Request):
    """Body of POST /workflows. With api_graph, version 1 is made at once."""

    name: Name
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None
    comment: str = ""


class VersionCreate(Request):
    """Body of POST /workflows/{id}/versions. api_graph is ComfyUI's API format; ui_graph the editor's."""

    api_graph: dict[str, Any]
    ui_graph: Any = None
    snapshot: Any = None
    comment: Annotated[str, Meta(max_length=2000)] = ""


class InputSpec(Struct, omit_defaults=True):
    """One input of a version, from an external input node of its graph."""

    input_id: str
    node_id: str
    class_type: str
    kind: Literal["text", "image", "images", "number", "integer", "boolean", "enum", "seed", "file"]
    default: Any = None
    display_name: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    options: list[str] = []


class ModelNeed(Struct, omit_defaults=True):
    """A model file the graph names. folder is empty when the node's class is not known to us."""

    name: str
    folder: str = ""
    node_id: str = ""


class Version(Struct, omit_defaults=True):
    """A workflow version: immutable. The graphs are left out of lists."""

    id: str
    workflow_id: str
    version: int
    created_at: datetime
    comment: str = ""
    inputs: list[InputSpec] = []
    node_classes: list[str] = []
    models: list[ModelNeed] = []
    api_graph: dict[str, Any] | None = None
    ui_graph: Any = None
    snapshot: Any = None


class Workflow(Struct, omit_defaults=True):
    """A workflow and its newest version number (0: none yet)."""

    id: str
    name: str
    latest_version: int
    created_at: datetime
    updated_at: datetime
    version: Version | None = None


class DeploymentCreate(Request):
    """Body of POST /deployments: makes or moves the workflow's deployment of that environment."""

    version_id: str
    environment: Environment = "production"
    machine_id: str | None = None
    pool: dict[Label, Label] = {}


class DeploymentUpdate(Request):
    """Body of PATCH /deployments/{id}: what is left out stays."""

    version_id: str | None = None
    machine_id: str | UnsetType | None = UNSET  # null unpins
    pool: dict[Label, Label] | None = None


class Deployment(Struct, omit_defaults=True):
    """A version made callable, and the machines that may run it."""

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


# Runs


class RunCreate(Request):
    """Body of POST /runs: exactly one of deployment_id and version_id.

    An input's value is text, a number, a boolean, a list, `{"file_id": id}` or a URL for an image.
    """

    deployment_id: str | None = None
    version_id: str | None = None
    inputs: dict[str, Any] = {}
    webhook_url: Annotated[str, Meta(max_length=2000)] | None = None
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    timeout_s: Annotated[int, Meta(ge=1, le=86400)] | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    pool: dict[Label, Label] = {}


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


# Files


class File(Struct, omit_defaults=True):
    """A stored file. url is signed and expires."""

    id: str
    name: str
    content_type: str
    size: int
    sha256: str
    created_at: datetime
    url: str


# Webhooks


class WebhookCreate(Request):
    """Body of POST /webhooks."""

    url: Annotated[str, Meta(min_length=8, max_length=2000)]
    events: list[Literal["run.updated", "run.ended"]] = field(default_factory=lambda: ["run.ended"])


class Webhook(Struct, omit_defaults=True):
    """An endpoint. secret (whsec_...) is present only in the answer that made or rotated it."""

    id: str
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    secret: str | None = None


class Delivery(Struct, omit_defaults=True):
    """One message and how its delivery stands."""

    id: str
    run_id: str
    event_type: str
    status: RunStatus
    url: str
    state: Literal["pending", "delivered", "dead"]
    tries: int
    created_at: datetime
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    response_code: int | None = None
    error: str | None = None


class WebhookTest(Struct, omit_defaults=True):
    """What came of a test message. response_code is absent when no response came; error says what went wrong."""

    delivered: bool
    duration_ms: int
    response_code: int | None = None
    error: str | None = None


class WebhookSecret(Struct):
    """A signing secret (whsec_...)."""

    secret: str


class WebhookMessage(Struct, omit_defaults=True):
    """What a webhook receives, signed as Standard Webhooks has it."""

    type: str
    timestamp: datetime
    data: Run
