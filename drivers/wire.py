"""The machine wire: what orchestrator, drivers and machine agents say to each other about one attempt.

Plain data, msgspec only. It does not know the database, HTTP, or how a machine is reached.
Frames travel as JSON text over the agent's WebSocket; events travel by `POST /api/update-run`.
"""

from __future__ import annotations

from typing import Any, Literal, NewType

from msgspec import Struct

RunId = NewType("RunId", str)
AttemptId = NewType("AttemptId", str)
MachineId = NewType("MachineId", str)
LeaseToken = NewType("LeaseToken", str)

WorkflowJson = dict[str, Any]
"""A workflow's own JSON in ComfyUI's API format: node id -> {class_type, inputs}."""

PROTOCOL = 1
FILE_SCHEME = "fleet-file:"
"""An input value `fleet-file:<key>` stands for the job file with that key; the agent puts a local file in its place."""

ReportedStatus = Literal["started", "running", "uploading", "success", "failed", "cancelled", "timeout"]
FailureClass = Literal[
    "bad_graph",  # the executor refused the workflow: never retried
    "node_error",  # a node raised: never retried
    "out_of_memory",  # retried, once elsewhere
    "executor_crashed",  # retried
    "agent_restarted",  # retried
    "input_unavailable",  # an input could not be fetched: never retried when the URL is the user's
    "upload_failed",  # retried
    "machine_lost",  # retried
    "not_claimed",  # retried
    "rejected",  # retried, costs no attempt's worth of blame
    "timed_out",  # never retried
    "internal",  # retried
]


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why an attempt ended badly. `message` is for people; node fields are set when a node is to blame."""

    kind: FailureClass
    message: str
    node_id: str | None = None
    node_type: str | None = None
    traceback: list[str] = []


class JobFile(Struct, frozen=True, omit_defaults=True):
    """A file the workflow needs. sha256 is hex; it is absent for a URL the user gave."""

    key: str
    url: str
    name: str
    sha256: str | None = None
    size: int | None = None
    trusted: bool = False  # served by the orchestrator or its storage; not a user's URL


class Job(Struct, frozen=True, omit_defaults=True):
    """One attempt at one run, as a machine receives it. timeout_s counts from the claim."""

    run_id: RunId
    attempt_id: AttemptId
    number: int
    token: LeaseToken
    workflow: WorkflowJson
    timeout_s: int
    files: list[JobFile] = []
    ui_graph: Any = None
    realtime: bool = False  # goes on until LiveEnd: each LiveInput is run through the workflow
    live_outputs: bool = False  # its client sees what nodes make as they end: NodeDone is welcome
    extra: dict[str, Any] = {}  # for the prompt's extra_data: keys of other services; never logged or kept


class Timings(Struct, frozen=True, omit_defaults=True):
    """Milliseconds spent by the agent on each part of an attempt, and the most bytes its executor held meanwhile."""

    fetch_ms: float = 0
    wait_ms: float = 0
    execute_ms: float = 0
    upload_ms: float = 0
    peak_bytes: int = 0
    peak_vram_bytes: int = 0


class Output(Struct, frozen=True, omit_defaults=True):
    """One thing a node made: a stored file (file_id from a grant) or a value (data)."""

    node_id: str
    kind: str
    file_id: str | None = None
    data: Any = None


class Event(Struct, frozen=True, omit_defaults=True):
    """A report on an attempt. seq counts from 1 within the attempt; the first, `started`, claims it."""

    run_id: RunId
    attempt_id: AttemptId
    token: LeaseToken
    seq: int
    status: ReportedStatus
    outputs: list[Output] = []
    failure: Failure | None = None
    timings: Timings | None = None


class UpdateRun(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /api/update-run`: events of any number of attempts, each attempt's in sequence."""

    events: list[Event]


Verdict = Literal["applied", "duplicate", "late", "foreign", "unknown"]


class EventResult(Struct, frozen=True, omit_defaults=True):
    """What became of one event. `stop` tells the agent that the attempt is no longer its own."""

    attempt_id: AttemptId
    seq: int
    verdict: Verdict
    stop: bool = False
    reason: str = ""


class UpdateRunReply(Struct, frozen=True):
    """Results in the order of the events. Any of the verdicts acknowledges the event: it is not sent again."""

    results: list[EventResult]


class GrantRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Body of `POST /api/upload-grants`, authorised by `Authorization: Bearer <attempt token>`. sha256 is hex.

    early: the attempt goes on; the file is deleted again unless it is among the outputs of its success.
    """

    attempt_id: AttemptId
    name: str
    content_type: str
    size: int
    sha256: str
    early: bool = False


class Grant(Struct, frozen=True, omit_defaults=True):
    """Where to PUT the bytes. url is None when the organisation already has this content: nothing to send."""

    file_id: str
    url: str | None = None
    headers: dict[str, str] = {}


class Gpu(Struct, frozen=True, omit_defaults=True):
    """A device of a machine; vram in bytes."""

    name: str
    kind: str = "cuda"
    vram: int = 0


class ModelFile(Struct, frozen=True, omit_defaults=True):
    """A model file a machine holds. folder is ComfyUI's kind (checkpoints, upscale_models); sha256 is hex."""

    folder: str
    name: str
    size: int
    sha256: str | None = None


class NodePack(Struct, frozen=True, omit_defaults=True):
    """A node pack of a machine's executor. status: loaded, failed, timed_out or skipped; reason says why.

    missing: requirements the pack states and the machine lacks. commit: what git has checked out in its folder.
    """

    name: str
    status: str = "loaded"
    reason: str | None = None
    missing: list[str] = []
    commit: str | None = None


class Inventory(Struct, frozen=True, omit_defaults=True):
    """What a machine has. node_classes are the class_type names its executor can run; packs brought some of them.

    object_info names what its executor answers to /object_info: the sha256 (hex) of the JSON, which the orchestrator
    asks for once.
    """

    gpus: list[Gpu] = []
    node_classes: list[str] = []
    models: list[ModelFile] = []
    versions: dict[str, str] = {}  # executor, python, torch, comfyui ...
    ram: int = 0
    cpus: int = 0
    packs: list[NodePack] = []
    object_info: str = ""


# Frames from the agent to the orchestrator.


class Hello(Struct, frozen=True, tag="hello"):
    """First frame. attempts: every attempt the agent still holds or has unacknowledged events of."""

    protocol: int
    agent_version: str
    slots: int
    inventory: Inventory
    attempts: list[AttemptId]


class Beat(Struct, frozen=True, tag="beat"):
    """Heartbeat: how many slots are in use and which attempts the agent holds."""

    used: int
    attempts: list[AttemptId]


class InventoryChanged(Struct, frozen=True, tag="inventory"):
    """The machine's inventory or slots changed while it was connected."""

    slots: int
    inventory: Inventory


class Progress(Struct, frozen=True, tag="progress", omit_defaults=True):
    """Live progress; never stored. value is 0..1 over the whole run, text says what is going on.

    step and steps are of the node at work, when it says so.
    """

    run_id: RunId
    attempt_id: AttemptId
    value: float
    node_id: str | None = None
    node_type: str | None = None
    text: str = ""
    nodes_done: int = 0
    nodes_total: int = 0
    step: int | None = None
    steps: int | None = None


class Preview(Struct, frozen=True, tag="preview"):
    """A live preview image, base64 JPEG or PNG; never stored."""

    run_id: RunId
    attempt_id: AttemptId
    content_type: str
    image: str


class NodeDone(Struct, frozen=True, tag="node_done"):
    """A node has ended, and what it made is stored. Sent only of jobs with live_outputs, as far as it can be."""

    run_id: RunId
    attempt_id: AttemptId
    node_id: str
    outputs: list[Output]


class Declined(Struct, frozen=True, tag="declined"):
    """The agent will not take an assigned attempt (draining, no slot)."""

    attempt_id: AttemptId
    reason: str


class Log(Struct, frozen=True, tag="log"):
    """Lines that an executor wrote while it worked on an attempt. Sent only when the Welcome asked for them."""

    run_id: RunId
    attempt_id: AttemptId
    lines: list[str]


class ObjectInfo(Struct, frozen=True, tag="object_info"):
    """Answer to AskObjectInfo: the JSON that the hash stands for, zlib-compressed, in base64."""

    hash: str
    body: str


class AgentLog(Struct, frozen=True, tag="agent_log"):
    """Lines of the agent's own log. Sent only when the Welcome asked for logs."""

    lines: list[str]


class LiveImage(Struct, frozen=True):
    """A picture of a real-time run: for an input, or of an output, by its id. data: JPEG, PNG or WebP, in base64."""

    id: str
    content_type: str
    data: str


class LiveOutput(Struct, frozen=True, tag="live_output"):
    """What became of the LiveInput of that number, and how long the machine worked on it."""

    attempt_id: AttemptId
    number: int
    images: list[LiveImage]
    ms: float


AgentFrame = (
    LiveOutput
    | AgentLog
    | Log
    | Hello
    | Beat
    | InventoryChanged
    | Progress
    | Preview
    | NodeDone
    | Declined
    | ObjectInfo
)


# Frames from the orchestrator to the agent.


class Welcome(Struct, frozen=True, tag="welcome"):
    """Answer to Hello. beat_s: send a Beat this often; lease_s: without beats for so long the machine is lost.

    logs: Log and AgentLog frames are welcome; an orchestrator that does not know them never sets it.
    """

    machine_id: MachineId
    name: str
    beat_s: float
    lease_s: float
    logs: bool = False


class Assign(Struct, frozen=True, tag="assign"):
    """Here is a job for one of your slots."""

    job: Job


class Stop(Struct, frozen=True, tag="stop"):
    """Stop working on this attempt; report nothing but what is already spooled."""

    attempt_id: AttemptId
    reason: str


class Drain(Struct, frozen=True, tag="drain"):
    """Finish what you hold; you will be assigned nothing more until `on` is false."""

    on: bool


class TakeSecrets(Struct, frozen=True, tag="take_secrets"):
    """What the machine's executors are given as environment variables, all of it; kept in memory and nowhere else."""

    values: dict[str, str]

    def __repr__(self) -> str:
        """The names only: a frame may come into a log."""
        return f"TakeSecrets({sorted(self.values)})"


class AskObjectInfo(Struct, frozen=True, tag="ask_object_info"):
    """The inventory named an object_info that the orchestrator does not have yet: send it."""

    hash: str


class LiveInput(Struct, frozen=True, tag="live_input", omit_defaults=True):
    """Pictures for a real-time run; those left out stay as they were, and so does the workflow."""

    attempt_id: AttemptId
    number: int
    images: list[LiveImage] = []
    workflow: WorkflowJson | None = None


class LiveEnd(Struct, frozen=True, tag="live_end"):
    """The client of a real-time run is gone: end it well."""

    attempt_id: AttemptId


ServerFrame = LiveInput | LiveEnd | Welcome | Assign | Stop | Drain | AskObjectInfo | TakeSecrets


class EnrolRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /api/v1/agent/enrol`: trades a one-time token for the agent's own credential."""

    token: str
    agent_version: str = ""


class EnrolReply(Struct, frozen=True):
    """The credential is shown once: the agent keeps it, the orchestrator keeps its hash."""

    machine_id: MachineId
    name: str
    credential: str
