"""The pages a reader sees: each fetches its rows and hands them to a template. They change nothing.

It knows neither SQL nor how a page looks.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, get
from litestar.response import Redirect, Template

from orchestrator.dashboard.desk import Desk, here, show, uuid_of
from orchestrator.dashboard.words import shown_inputs
from orchestrator.errors import BadRequest, NotFound
from orchestrator.files import Files
from orchestrator.runs.schedule import explain
from orchestrator.runs.state import HELD
from orchestrator.store import overview, runs

PAGE: Final = 25
LATEST: Final = 10
VERSIONS: Final = 10
DELIVERIES: Final = 100
GROUPS: Final[dict[str, tuple[str, list[str]]]] = {
    "": ("All", []),
    "waiting": ("Waiting", ["not-started"]),
    "active": ("On machines", sorted(HELD)),
    "success": ("Succeeded", ["success"]),
    "failed": ("Failed", ["failed", "timeout"]),
    "cancelled": ("Cancelled", ["cancelled"]),
}
AnyRequest = Request[Any, Any, Any]


@get("/", name="overview", include_in_schema=False)
async def overview_page(request: AnyRequest, desk: Desk) -> Template:
    """Counts, machines and the latest runs."""
    counts = await overview.counts(desk.db, desk.organisation_id)
    machines = await overview.machines(desk.db, desk.organisation_id)
    latest = await overview.runs(desk.db, desk.organisation_id, statuses=[], limit=LATEST)
    return await show(
        request,
        desk,
        "overview",
        "runs=1&machines=1",
        section="/",
        tiles={key: sum(counts.get(status, 0) for status in statuses) for key, (_, statuses) in GROUPS.items()},
        machines=machines,
        online=sum(machine.connected for machine in machines),
        used_slots=sum(machine.used_slots for machine in machines if machine.connected),
        slots=sum(machine.slots for machine in machines if machine.connected),
        runs=latest,
        progress=desk.progress([run.id for run in latest]),
    )


@get("/machines", include_in_schema=False)
async def machines_page(request: AnyRequest, desk: Desk) -> Template:
    """Every machine and what it does now."""
    return await machines_view(request, desk)


async def machines_view(request: AnyRequest, desk: Desk, code: int = 200, **context: Any) -> Template:
    """The machines page, also with an enrol command or an error above it."""
    shown = await show(
        request,
        desk,
        "machines",
        "machines=1",
        section="/machines",
        here="/machines",
        machines=await overview.machines(desk.db, desk.organisation_id),
        may_change=desk.may_change,
        **context,
    )
    shown.status_code = code
    return shown


@get("/runs", include_in_schema=False)
async def runs_page(request: AnyRequest, desk: Desk, status: str = "", q: str = "", before: str = "") -> Template:
    """Runs, newest first, by status and by words, one page at a time."""
    group = status if status in GROUPS else ""
    found = await overview.runs(
        desk.db,
        desk.organisation_id,
        statuses=GROUPS[group][1],
        words=q.strip()[:100].replace("\x00", ""),
        before=_cursor(before),
        limit=PAGE + 1,
    )
    shown = found[:PAGE]
    kept = {key: value for key, value in (("status", group), ("q", q)) if value}
    return await show(
        request,
        desk,
        "runs",
        "runs=1",
        section="/runs",
        runs=shown,
        progress=desk.progress([run.id for run in shown]),
        filters=[(key, word) for key, (word, _) in GROUPS.items()],
        filter_link=lambda key: _address("/runs", {"status": key, "q": q}),
        chosen=group,
        q=q,
        before=before,
        older=_address("/runs", {**kept, "before": shown[-1].id}) if len(found) > PAGE else "",
        newest=_address("/runs", kept),
    )


def _address(path: str, query: dict[str, str]) -> str:
    given = urlencode({key: value for key, value in query.items() if value})
    return f"{path}?{given}" if given else path


def _cursor(text: str) -> UUID | None:
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest("This is not a page of the list.", code="bad_cursor") from None


@get("/runs/{run_id:str}", include_in_schema=False)
async def run_page(request: AnyRequest, desk: Desk, run_id: str) -> Template:
    """One run with its history, inputs, attempts and outputs."""
    key = uuid_of(run_id)
    run = await overview.run(desk.db, desk.organisation_id, key)
    if run is None:
        raise NotFound("There is no such run.")
    return await show(
        request,
        desk,
        "run",
        f"run={run.id}",
        section="/runs",
        here=here(request),
        run=run,
        waiting_reason=await _waiting_reason(desk, run),
        events=await overview.run_events(desk.db, desk.organisation_id, key),
        attempts=await overview.attempts(desk.db, desk.organisation_id, key),
        outputs=await overview.outputs(desk.db, desk.organisation_id, key),
        inputs=shown_inputs(run.inputs),
        may_cancel=desk.may_change,
        progress=desk.progress([run.id]),
    )


async def _waiting_reason(desk: Desk, run: overview.RunDetail) -> str:
    """Why nobody has taken the run; empty when it does not wait."""
    if run.status != "not-started":
        return ""
    waiting = await runs.why_waiting(desk.db, desk.organisation_id, run.id)
    return explain(*waiting) if waiting else ""


@get("/workflows", include_in_schema=False)
async def workflows_page(request: AnyRequest, desk: Desk) -> Template:
    """Workflows and their newest versions."""
    workflows = await overview.workflows(desk.db, desk.organisation_id)
    versions: dict[str, list[overview.VersionRow]] = {workflow.id: [] for workflow in workflows}
    for version in await overview.versions(desk.db, desk.organisation_id, list(versions), VERSIONS):
        versions[version.workflow_id].append(version)
    return await show(
        request, desk, "workflows", "runs=0", section="/workflows", workflows=workflows, versions=versions
    )


@get("/webhooks", include_in_schema=False)
async def webhooks_page(request: AnyRequest, desk: Desk) -> Template:
    """The newest webhook messages and how their delivery stands."""
    deliveries = await overview.deliveries(desk.db, desk.organisation_id, DELIVERIES)
    return await show(request, desk, "webhooks", "runs=1", section="/webhooks", deliveries=deliveries)


@get("/dashboard/files/{file_id:str}", include_in_schema=False)
async def file_page(desk: Desk, files: Files, file_id: str) -> Redirect:
    """Leads to the file's signed address. This one stays the same, so a refreshed page loads no picture twice."""
    key = uuid_of(file_id)
    name = await overview.file_name(desk.db, desk.organisation_id, key)
    if name is None:
        raise NotFound("There is no such file.")
    keep_s = min(600, desk.config.file_url_s // 2)
    return Redirect(files.url(str(key), name), headers={"Cache-Control": f"private, max-age={keep_s}"})


handlers: Final = [
    overview_page,
    machines_page,
    runs_page,
    run_page,
    workflows_page,
    webhooks_page,
    file_page,
]
