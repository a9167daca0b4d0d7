"""Runs that ComfyUI's editor starts on its own machine, by the plugin: written down here, executed there.

The plugin asks before it queues the prompt. What it is answered names an attempt that holds the run, so that its
callbacks are taken as those of a run that was pushed; the run goes to no other machine and is tried once.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request
from litestar.datastructures import State

from drivers.wire import AttemptId, MachineId, RunId
from orchestrator.auth import Principal
from orchestrator.dialects.comfydeploy import words
from orchestrator.errors import Conflict, FieldError, Forbidden, Invalid
from orchestrator.live.graphs import Sending, send
from orchestrator.live.parts import Parts
from orchestrator.runs.inputs import place
from orchestrator.runs.state import Placed, Step
from orchestrator.store import ids
from orchestrator.store.ledger import Change
from orchestrator.wire import Machine

NOWHERE: Final = "fleet.started-by-the-editor-of"
"""A label that no machine has: no dispatcher places the run, the editor's machine has it already."""


async def begin_native(
    request: Request[Principal, Any, State], parts: Parts, data: words.StartRun, machine: Machine
) -> words.Native:
    """The run and the attempt that the machine is to execute. Raises Forbidden, Invalid."""
    principal, graph = request.user, data.workflow_api_json or data.workflow_api
    if not principal.may("developer"):
        raise Forbidden("a graph of one's own needs the role developer")
    principal.check_run(None)
    if machine.endpoint is None:
        message = "must be a ComfyUI with the plugin at an endpoint: this machine has an agent"
        raise Invalid(f"machine_id {message}", errors=[FieldError("machine_id", message)])
    if graph is None:
        raise Invalid("workflow_api_json is missing", errors=[FieldError("workflow_api_json", "is missing")])
    sending = Sending(
        graph=place(graph, data.inputs or {}), dialect="comfydeploy", pool={NOWHERE: machine.id}, max_attempts=0
    )
    run_id = (await send(parts, principal, sending)).run_id
    attempt_id, token = ids.new_id(), ids.token("cft")
    placed = Change(
        RunId(run_id),
        Placed(AttemptId(attempt_id), MachineId(machine.id)),
        principal.organisation_id,
        token_hash=ids.digest(token),
        claim_s=parts.config.claim_s,
    )
    if not isinstance(await parts.ledger.change(placed), Step):
        raise Conflict("the run was cancelled before it began", code="stale_attempt")
    return _answer(data, graph, parts.config.base_url, run_id, attempt_id, token)


def _answer(
    data: words.StartRun, graph: dict[str, Any], base_url: str, run_id: str, attempt_id: str, token: str
) -> words.Native:
    ui_graph = data.workflow
    has_nodes = isinstance(ui_graph, dict) and isinstance(ui_graph.get("nodes"), list)
    return words.Native(
        prompt_id=attempt_id,
        run_id=run_id,
        workflow_api_raw=graph,
        inputs=data.inputs or {},
        workflow=ui_graph if has_nodes else {"nodes": []},
        status_endpoint=f"{base_url}/api/update-run",
        file_upload_endpoint=f"{base_url}/api/file-upload",
        cd_token=token,
        gpu_event_id=data.gpu_event_id,
    )
