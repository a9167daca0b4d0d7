"""Jobs under /api/v2/jobs: submit a graph, look at it, follow it, cancel it, find it again.

A job is a run: what is decided about it is decided where runs are. This only says it in the API's words.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from orchestrator.auth import Principal, requires
from orchestrator.config import Config
from orchestrator.dialects.comfy_v2 import words
from orchestrator.errors import BadRequest, FieldError, Invalid, NotFound, TooMany
from orchestrator.files import Files
from orchestrator.live.following import follow
from orchestrator.live.graphs import Sending, send, with_keys
from orchestrator.live.hub import Hub, PreviewEvent
from orchestrator.live.once import HEADER, once_of
from orchestrator.live.parts import Parts
from orchestrator.runs.extras import sorted_out, why_too_much
from orchestrator.runs.paging import LARGEST_PAGE, decode_cursor, encode_cursor
from orchestrator.runs.shapes import shown
from orchestrator.runs.state import TERMINAL, Cancel
from orchestrator.store import assets, graphs
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from orchestrator.vault import Vault
from orchestrator.wire import ProgressEvent, RunEvent

STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MOST_STREAMS: Final = 200
RESERVED: Final = ("webhook_url", "inputs")
REFERENCE: Final = "core/ASSET"
Page = Annotated[int, Parameter(ge=1, le=LARGEST_PAGE)]


@post("/jobs", status_code=201, opt=requires("developer", "runs:write"))
async def submit(request: Request[Principal, Any, State], parts: Parts, hub: Hub, vault: Vault) -> Response[words.Job]:
    """Queue a graph. Its Idempotency-Key works once: the same again is refused, not answered alike."""
    body = await _submitted(request)
    once = await once_of(request)
    graph, missing = with_files(body.workflow)
    if missing:
        raise _missing(missing)
    labels: dict[str, str] = body.metadata or {}
    extra = sorted_out(body.extra_data)
    sending = Sending(graph=graph, dialect="comfy_v2", labels=labels, once=once, extra=extra.kept)
    sending = with_keys(sending, vault, request.user.organisation_id, extra.keys)
    try:
        begun = await send(parts, request.user, sending)
    except Invalid as error:
        unknown = [each for each in error.errors if each.code == "file_not_found"]
        raise _missing([each.message for each in unknown]) if unknown else error from error
    if begun.replayed:
        raise Invalid(f"this {HEADER} was used before: give each request its own", code="idempotency_key_reuse")
    job = await _shown(parts.db, parts.files, hub, parts.config, request.user, begun.run_id)
    return Response(job, status_code=201, headers={"Location": job.urls.self})


async def _submitted(request: Request[Principal, Any, State]) -> words.Submit:
    try:
        raw = msgspec.json.decode(await request.body(), type=dict[str, Any])
        body = msgspec.convert(raw, words.Submit)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise BadRequest(f"the body is no job: {error}", code="invalid_request") from error
    reserved = next((name for name in RESERVED if name in raw), None)
    if reserved is not None:
        raise Invalid(f"`{reserved}` is reserved: leave it out", code="invalid_request")
    much = why_too_much(sorted_out(body.extra_data).keys)
    if much is not None:
        raise Invalid(much, code="invalid_request", errors=[FieldError("extra_data", much)])
    _check_workflow(body.workflow)
    why = None if body.metadata is None else words.why_no_labels(body.metadata)
    if why is not None:
        raise Invalid(why, code="metadata_invalid")
    return body


def _check_workflow(workflow: Any) -> None:
    if not isinstance(workflow, dict):
        errors = [FieldError("workflow", "must be a graph in the API format", "missing_field")]
        raise Invalid("workflow: must be a graph in the API format", code="invalid_workflow", errors=errors)
    if isinstance(workflow.get("nodes"), list):
        detail = "this is the editor's graph: export it in the API format (Workflow > Export (API))"
        raise Invalid(detail, code="workflow_format_ui")


def with_files(workflow: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The graph with `{"file_id": id}` in place of asset references, and what is wrong with references in it."""
    wrong: list[str] = []

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if not isinstance(value, dict) or value.get("__type") != REFERENCE:
            return value
        info = value.get("info")
        asset_id = info.get("id") if isinstance(info, dict) else None
        if not isinstance(asset_id, str) or assets.uuid_of(asset_id) is None:
            wrong.append("a reference to an asset has no id")
            return None
        return {"file_id": str(assets.uuid_of(asset_id))}

    return {node_id: _node(node, replaced) for node_id, node in workflow.items()}, wrong


def _node(node: Any, replaced: Any) -> Any:
    if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
        return node
    return {**node, "inputs": {name: replaced(value) for name, value in node["inputs"].items()}}


def with_references(graph: dict[str, Any]) -> dict[str, Any]:
    """The graph as it was sent: the other way round."""

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if isinstance(value, dict) and set(value) == {"file_id"}:
            return {"__type": REFERENCE, "info": {"id": value["file_id"]}}
        return value

    return {node_id: _node(node, replaced) for node_id, node in graph.items()}


def _missing(why: list[str]) -> Invalid:
    return Invalid(why[0], code="missing_asset", errors=[FieldError("workflow", each, "missing_asset") for each in why])


@get("/jobs", opt=requires("viewer", "runs:read"))
async def list_jobs(
    request: Request[Principal, Any, State],
    db: Database,
    status: str | None = None,
    cursor: str | None = None,
    limit: Page = 20,
) -> words.Jobs:
    """Newest first; `metadata[name]=value` keeps those with that label, `status=queued,running` those of a status.

    Up to three labels are taken.
    """
    labels = dict(_filters(list(request.query_params.multi_items())))
    states = None if status is None else words.states_of(_statuses(status))
    found = await graphs.jobs(db, request.user.organisation_id, labels, states, decode_cursor(cursor), limit + 1)
    kept = found[:limit]
    following = encode_cursor(kept[-1].id) if len(found) > limit else None
    return words.Jobs([words.summary(row) for row in kept], following)


def _statuses(asked: str) -> list[str]:
    wanted = [one.strip() for one in asked.split(",")]
    for one in wanted:
        if one not in words.JOB_STATUSES:
            detail = f"status: {one!r} is none of {', '.join(words.JOB_STATUSES)}, which may be joined by commas"
            raise BadRequest(detail, code="invalid_request")
    return wanted


def _filters(query: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    count = 0
    for name, value in query:
        if not name.startswith("metadata"):
            continue
        key = name.removeprefix("metadata[").removesuffix("]")
        count += 1
        if name != f"metadata[{key}]" or words.why_no_label(key, value) or count > words.MOST_FILTERS:
            detail = f"filters look like metadata[name]=value, and there are at most {words.MOST_FILTERS}"
            raise BadRequest(detail, code="invalid_metadata_filter")
        yield key, value


@get("/jobs/{job_id:str}", opt=requires("viewer", "runs:read"))
async def get_job(
    job_id: str, principal: Principal, db: Database, files: Files, hub: Hub, config: Config
) -> Response[words.Job]:
    """One job, with its outputs once it has succeeded."""
    job = await _shown(db, files, hub, config, principal, job_id)
    return Response(job, headers={"Cache-Control": "no-store"})


async def _row(db: Database, principal: Principal, job_id: str) -> graphs.JobRow:
    wanted = assets.uuid_of(job_id)
    row = None if wanted is None else await graphs.job(db, principal.organisation_id, str(wanted))
    if row is None:
        raise NotFound("there is no such job")
    return row


async def _shown(db: Database, files: Files, hub: Hub, config: Config, principal: Principal, job_id: str) -> words.Job:
    row = await _row(db, principal, job_id)
    outputs = await _outputs(db, files, config, principal, row.id) if row.status == "success" else []
    return words.job(row, hub.progress(row.id), outputs, config.retention_days)


async def _outputs(db: Database, files: Files, config: Config, principal: Principal, job_id: str) -> list[words.Output]:
    found: list[words.Output | None] = []
    for made in await assets.made(db, principal.organisation_id, job_id):
        if made.file_id is None and made.data is not None:
            until = words.kept_until(made.created_at, config.retention_days)
            found.append(words.text_output(made, config.base_url, until))
        elif made.file_id is not None:
            found.append(words.output(made, files.url(made.file_id, made.name or "output")))
    return [one for one in found if one is not None]


@get("/jobs/{job_id:str}/workflow", opt=requires("viewer", "runs:read"))
async def get_workflow(job_id: str, principal: Principal, db: Database) -> words.Workflow:
    """The graph as it was sent."""
    row = await _row(db, principal, job_id)
    sent = await graphs.graph_of(db, principal.organisation_id, row.id)
    if sent is None:
        raise NotFound("there is no such job")
    return words.Workflow(with_references(shown(sent.api_graph, sent.inputs)))


@post("/jobs/{job_id:str}/cancel", status_code=200, opt=requires("developer", "runs:write"))
async def cancel(
    job_id: str, principal: Principal, db: Database, files: Files, hub: Hub, config: Config, ledger: Ledger
) -> words.Job:
    """Idempotent: a job that has ended stays as it ended."""
    row = await _row(db, principal, job_id)
    why = Cancel(f"cancelled by {principal.actor}")
    await ledger.change(Change(row.id, why, principal.organisation_id))  # type: ignore[arg-type]
    return await _shown(db, files, hub, config, principal, job_id)


@get("/jobs/{job_id:str}/events", opt=requires("viewer", "runs:read"), media_type="text/event-stream")
async def follow_job(
    job_id: str, request: Request[Principal, Any, State], db: Database, files: Files, hub: Hub, config: Config
) -> Stream:
    """`status`, `progress`, `preview` and `output` until the job has ended; what is true now comes first."""
    row = await _row(db, request.user, job_id)
    if len(hub.watched()) >= MOST_STREAMS:
        raise TooMany("too many streams are open", code="too_many_streams", retry_after_s=5)
    events = _events(db, files, config, hub, request.user, row.id, request.app.state["draining"])
    return Stream(events, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _events(
    db: Database, files: Files, config: Config, hub: Hub, principal: Principal, job_id: str, draining: Any
) -> AsyncGenerator[bytes, None]:
    told: words.JobStatus | None = None
    for now in (hub.progress(job_id), hub.preview(job_id)):
        if now is not None:
            yield _live(now)
    run = follow(db, hub, principal.organisation_id, job_id, after=0, draining=draining, previews=True)
    async with aclosing(run) as events:
        async for event in events:
            if event is None:
                yield b": still here\n\n"
            elif isinstance(event, ProgressEvent | PreviewEvent):
                yield _live(event)
            elif isinstance(event, RunEvent):
                row = await _row(db, principal, job_id)
                over = event.status in TERMINAL
                for frame in await _last_words(db, files, config, principal, row) if over else []:
                    yield frame
                if words.status_of(row) != told and (over or row.ended_at is None):  # an end comes last
                    told = words.status_of(row)
                    yield _frame("status", {"status": told, "queue_position": row.ahead})


async def _last_words(
    db: Database, files: Files, config: Config, principal: Principal, row: graphs.JobRow
) -> list[bytes]:
    """What a job made, and why it failed."""
    reason = words.error_of(row)
    outputs = [_frame("output", output) for output in await _outputs(db, files, config, principal, row.id)]
    return outputs if reason is None else [*outputs, _frame("error", reason)]


def _live(event: ProgressEvent | PreviewEvent) -> bytes:
    if isinstance(event, ProgressEvent):
        return _frame("progress", words.shown_progress(event))
    image = base64.b64encode(event.image).decode()
    return _frame("preview", {"node_id": event.node_id, "content_type": event.content_type, "data_base64": image})


def _frame(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))


handlers: Final = [submit, list_jobs, get_job, get_workflow, cancel, follow_job]
