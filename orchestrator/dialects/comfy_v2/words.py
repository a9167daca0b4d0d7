"""The bodies of the Comfy API v2, and what a run is in its words. Pure.

Every member that the API requires is always there, null where there is nothing. Times are in UTC.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from orchestrator.runs.state import STATUSES, Status
from orchestrator.store.assets import AssetRow, MadeRow
from orchestrator.store.graphs import JobRow, States
from orchestrator.wire import ProgressEvent

JobStatus = Literal["queued", "running", "succeeded", "canceling", "canceled", "failed", "expired"]
OutputType = Literal["image", "video", "audio", "text", "file", "latent"]

JOB_STATUSES: Final[tuple[JobStatus, ...]] = get_args(JobStatus)
BASE: Final = "/api/v2"
PROMISED_DAYS: Final = 365
MOST_LABELS: Final = 16
MOST_FILTERS: Final = 3
LONGEST_KEY: Final = 40
LONGEST_VALUE: Final = 256
_KEY_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_ENDED: Final[Mapping[str, JobStatus]] = {"success": "succeeded", "failed": "failed", "cancelled": "canceled"}
_WAITING: Final[frozenset[Status]] = frozenset({"not-started", "queued", "started"})


class Error(Struct):
    """Why a request was refused."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class Envelope(Struct):
    """The body of every error."""

    error: Error


class Submit(Struct):
    """Body of POST /jobs."""

    workflow: Any = None
    extra_data: dict[str, Any] | None = None
    metadata: Any = None


class Progress(Struct, omit_defaults=True):
    """How far a job is; each is complete in itself."""

    value: float
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: int | None = None
    steps: int | None = None
    message: str | None = None


class Output(Struct):
    """A file that a job made."""

    node_id: str
    name: str
    type: OutputType
    content_type: str
    size_bytes: int
    id: str
    hash: str | None
    url: str
    url_expires_at: datetime
    job_id: str


class JobError(Struct):
    """Why a job failed."""

    code: str
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None


class Urls(Struct):
    """Where to go on, relative to the host."""

    self: str
    events: str
    cancel: str


class Job(Struct):
    """One execution of a workflow."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    queue_position: int | None
    progress: Progress | None
    outputs: list[Output]
    error: JobError | None
    metrics: dict[str, int | None]
    metadata: dict[str, str]
    urls: Urls


class Summary(Struct):
    """A job in a list."""

    id: str
    status: JobStatus
    create_time: datetime
    update_time: datetime
    metadata: dict[str, str]
    deployment_id: str | None = None


class Jobs(Struct, omit_defaults=True):
    """A page of jobs, newest first."""

    jobs: list[Summary]
    next_cursor: str | None = None


class Workflow(Struct):
    """The graph of a job."""

    workflow: dict[str, Any]
    format: Literal["api", "save"] = "api"


class FromHash(Struct):
    """Body of POST /assets/from-hash."""

    hash: str
    file_path: str = ""
    tags: list[str] = []
    expires_in: int | None = None


class Asset(Struct):
    """A file."""

    id: str
    hash: str | None
    size_bytes: int
    content_type: str
    created_at: datetime
    url: str
    url_expires_at: datetime
    file_path: str | None = None
    created_new: bool | None = None
    expires_at: datetime | None = None
    job_id: str | None = None


def status_of(row: JobRow) -> JobStatus:
    """A run's status in these words. A job that ran once stays `running` while its next attempt waits."""
    return _status(row.status, row.running_at is not None)


def _status(status: Status, ran: bool) -> JobStatus:
    if status == "timeout":
        return "failed" if ran else "expired"
    if status in _ENDED:
        return _ENDED[status]
    return "running" if ran or status not in _WAITING else "queued"


def states_of(wanted: Collection[str]) -> States:
    """The runs that have one of these statuses in the API's words."""
    unstarted, begun = ([one for one in STATUSES if _status(one, ran) in wanted] for ran in (False, True))
    return States(unstarted, begun)


def job(row: JobRow, progress: ProgressEvent | None, outputs: Sequence[Output], kept_days: int) -> Job:
    """A run as a job. kept_days: how long runs are kept after their end; 0: for ever, of which a year is promised."""
    status = status_of(row)
    at = f"{BASE}/jobs/{row.id}"
    return Job(
        id=row.id,
        status=status,
        created_at=row.created_at,
        started_at=row.running_at,
        completed_at=row.ended_at,
        expires_at=kept_until(row.created_at, kept_days),
        queue_position=row.ahead,
        progress=None if progress is None or row.ended_at else shown_progress(progress),
        outputs=list(outputs),
        error=error_of(row),
        metrics={
            "queue_ms": _between(row.created_at, row.running_at),
            "execution_ms": _between(row.running_at, row.ended_at),
        },
        metadata=row.labels,
        urls=Urls(at, f"{at}/events", f"{at}/cancel"),
    )


def kept_until(made_at: datetime, kept_days: int) -> datetime:
    """How long what was made then is there at least. kept_days: as job() has it."""
    return made_at + timedelta(days=kept_days or PROMISED_DAYS)


def summary(row: JobRow) -> Summary:
    """A run as an entry of a list."""
    changed = row.ended_at or row.running_at or row.created_at
    return Summary(row.id, status_of(row), row.created_at, changed, row.labels)


def _between(begin: datetime | None, end: datetime | None) -> int | None:
    return None if begin is None or end is None else max(0, round((end - begin).total_seconds() * 1000))


def error_of(row: JobRow) -> JobError | None:
    """Why a job failed; None: it has not."""
    status = status_of(row)
    if status == "expired":
        return JobError("expired", "no machine took the job in time")
    if status != "failed":
        return None
    failure = row.failure or {}
    kind = str(failure.get("kind", "internal"))
    code = {"node_error": "node_execution_error", "bad_graph": "invalid_workflow"}.get(kind, kind)
    lines = failure.get("traceback")
    return JobError(
        code,
        str(failure.get("message", "the job failed")),
        failure.get("node_id"),
        failure.get("node_type"),
        "".join(lines) if lines else None,
    )


def shown_progress(event: ProgressEvent) -> Progress:
    """A run's live progress in these words."""
    return Progress(
        value=min(1.0, max(0.0, event.value)),
        nodes_done=event.nodes_done,
        nodes_total=event.nodes_total,
        current_node=event.node_id,
        current_node_class=event.node_type,
        step=event.step,
        steps=event.steps,
        message=event.text or None,
    )


def output(made: MadeRow, url: str) -> Output | None:
    """A file that a run made. url: its signed address. None: it was deleted."""
    if made.file_id is None:
        return None
    content_type = made.content_type or "application/octet-stream"
    name = made.name or "output"
    return Output(
        node_id=made.node_id,
        name=name,
        type=type_of(name, content_type),
        content_type=content_type,
        size_bytes=made.size or 0,
        id=made.file_id,
        hash=shown_hash(made.blake3),
        url=url,
        url_expires_at=expiry_of(url),
        job_id=made.run_id,
    )


def text_output(made: MadeRow, base_url: str, until: datetime) -> Output:
    """A value that a run made, as a text that can be downloaded for as long as the run is kept."""
    content_type, body = text_of(made)
    return Output(
        node_id=made.node_id,
        name=_text_name(made),
        type="text",
        content_type=content_type,
        size_bytes=len(body),
        id=made.id,
        hash=None,
        url=text_url(base_url, made.id),
        url_expires_at=until,
        job_id=made.run_id,
    )


def text_asset(made: MadeRow, base_url: str, until: datetime) -> Asset:
    """The same as an asset."""
    content_type, body = text_of(made)
    return Asset(
        id=made.id,
        hash=None,
        size_bytes=len(body),
        content_type=content_type,
        created_at=made.created_at,
        url=text_url(base_url, made.id),
        url_expires_at=until,
        file_path=_text_name(made),
        job_id=made.run_id,
    )


def text_of(made: MadeRow) -> tuple[str, bytes]:
    """A value's content type and bytes: texts as they are, a line between two; anything else is JSON."""
    items = made.data if isinstance(made.data, list) else [made.data]
    if all(isinstance(item, str) for item in items):
        return "text/plain; charset=utf-8", "\n".join(items).encode("utf-8", "replace")
    return "application/json", msgspec.json.encode(made.data)


def _text_name(made: MadeRow) -> str:
    return f"{made.node_id}-{made.kind}.{'json' if text_of(made)[0] == 'application/json' else 'txt'}"


def text_url(base_url: str, asset_id: str) -> str:
    """Where a text is; it needs a credential."""
    return f"{base_url}{BASE}/assets/{asset_id}/content"


def type_of(name: str, content_type: str) -> OutputType:
    """What kind of output a file is."""
    if name.endswith(".latent"):
        return "latent"
    match content_type.partition("/")[0]:
        case "image":
            return "image"
        case "video":
            return "video"
        case "audio":
            return "audio"
        case "text":
            return "text"
    return "text" if content_type == "application/json" else "file"


def asset(row: AssetRow, url: str, created_new: bool | None = None) -> Asset:
    """A file as an asset."""
    return Asset(
        id=row.id,
        hash=shown_hash(row.blake3),
        size_bytes=row.size,
        content_type=row.content_type,
        created_at=row.created_at,
        url=url,
        url_expires_at=expiry_of(url),
        file_path=row.file_path or row.name,
        created_new=created_new,
        expires_at=row.expires_at,
        job_id=row.job_id,
    )


def expiry_of(url: str) -> datetime:
    """When a signed URL of ours runs out."""
    expires = parse_qs(urlsplit(url).query).get("expires", ["0"])[0]
    return datetime.fromtimestamp(int(expires), UTC)


def shown_hash(blake3: bytes | None) -> str | None:
    """`blake3:<hex>`."""
    return None if blake3 is None else f"blake3:{blake3.hex()}"


def read_hash(text: str) -> bytes | None:
    """The hash that `blake3:<hex>` names, or None."""
    kind, _, digits = text.partition(":")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return None
    return found if kind == "blake3" and len(found) == 32 and len(digits) == 64 else None


def why_no_labels(labels: Any) -> str | None:
    """What is wrong with a job's metadata; None: nothing."""
    if not isinstance(labels, dict):
        return "metadata is an object of names and texts"
    if len(labels) > MOST_LABELS:
        return f"metadata has at most {MOST_LABELS} entries"
    return next((why for key, value in labels.items() if (why := why_no_label(key, value))), None)


def why_no_label(key: str, value: Any) -> str | None:
    """What is wrong with one entry of metadata; None: nothing."""
    if not 0 < len(key) <= LONGEST_KEY or not _KEY_LETTERS.issuperset(key):
        return f"metadata: a name is 1 to {LONGEST_KEY} letters, digits, `_`, `.` or `-`"
    if not isinstance(value, str):
        return f"metadata.{key} is not a text"
    if len(value.encode("utf-8", "replace")) > LONGEST_VALUE:
        return f"metadata.{key} is longer than {LONGEST_VALUE} bytes"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in value):
        return f"metadata.{key} has characters that cannot be shown"
    return None
