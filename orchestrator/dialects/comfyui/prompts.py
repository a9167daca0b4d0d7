"""/prompt, /queue, /interrupt and /history: prompts are runs, and each sender sees and stops its own only."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Parameter

from orchestrator.auth import Principal, requires
from orchestrator.dialects.comfyui.bodies import done, json_object, texts
from orchestrator.dialects.comfyui.door import sender_of
from orchestrator.errors import ApiProblem, FieldError, Forbidden, TooMany, Unavailable
from orchestrator.live.graphs import Sending, send, with_keys
from orchestrator.live.infos import INFOS
from orchestrator.live.parts import Parts
from orchestrator.runs import prompts
from orchestrator.runs.extras import sorted_out, why_too_much
from orchestrator.runs.object_info import Info, only, why_refused
from orchestrator.runs.requirements import check_graph
from orchestrator.runs.shapes import shown
from orchestrator.runs.state import Cancel
from orchestrator.store import comfyui
from orchestrator.store.comfyui import Prompt, Sender
from orchestrator.store.db import Database
from orchestrator.store.ledger import Change, Ledger
from orchestrator.vault import Vault

HistoryOffset = Annotated[int, Parameter(le=2**31)]
MOST_OPEN: Final = 200
MOST_HISTORY: Final = 200
LONGEST_CLIENT: Final = 200
FRONT: Final = 1
"""The priority of a prompt that asks for the front of the queue."""


@post("/prompt", status_code=200, opt=requires("developer", "runs:write"))
async def queue_prompt(request: Request[Principal, Any, State], parts: Parts, vault: Vault) -> Response[dict[str, Any]]:
    """Queue a graph; the prompt's id is the run's. Refused as ComfyUI refuses."""
    body = await json_object(request)
    graph = body.get("prompt")
    if not isinstance(graph, dict):
        return _refused("no_prompt", "No prompt provided")
    info = await INFOS.of(parts.db, request.user.organisation_id)
    why = why_refused(graph, info)
    if why is not None:
        return _refused(*why)
    faults = check_graph(graph)
    if faults:
        return _refused("prompt_outputs_failed_validation", faults[0].message, "", _node_errors(graph, faults))
    extra = sorted_out(body.get("extra_data"))
    much = why_too_much(extra.keys)
    if much is not None:
        return _refused("invalid_prompt", much)
    try:
        sending = await _sending(parts.db, sender_of(request.user), graph, body, info)
        sending = msgspec.structs.replace(sending, extra=extra.kept)
        begun = await send(parts, request.user, with_keys(sending, vault, request.user.organisation_id, extra.keys))
    except (Forbidden, TooMany, Unavailable):
        raise
    except ApiProblem as error:
        nodes = _node_errors(graph, error.errors)
        return _refused("prompt_outputs_failed_validation", error.detail, "", nodes)
    return Response({"prompt_id": begun.run_id, "number": begun.number, "node_errors": {}}, status_code=200)


async def _sending(db: Database, sender: Sender, graph: dict[str, Any], body: dict[str, Any], info: Info) -> Sending:
    targets = texts(body.get("partial_execution_targets"))
    wanted = only(graph, targets, info) if targets else graph
    wanted = prompts.saved_previews(wanted)
    found = await find_files(db, sender, prompts.file_names(wanted))
    client_id = body.get("client_id")
    return Sending(
        graph=prompts.with_files(wanted, found),
        dialect="comfyui",
        client_id=client_id[:LONGEST_CLIENT] if isinstance(client_id, str) else "",
        priority=FRONT if body.get("front") is True else 0,
    )


async def find_files(db: Database, sender: Sender, names: set[str]) -> dict[str, str]:
    """The ids of files by the names that a graph has for them: inputs that were uploaded, outputs of earlier runs."""
    inputs: dict[str, str] = {}
    found: dict[str, str] = {}
    for name in names:
        path, folder = prompts.annotated(name)
        if folder in (None, "input"):
            inputs[name] = path
        else:
            run_id, _, file_name = path.rpartition("/")
            file_id = await output_of(db, sender.organisation_id, run_id, file_name)
            if file_id is not None:
                found[name] = file_id
    uploaded = await comfyui.input_files(db, sender, list(inputs.values())) if inputs else {}
    return found | {name: uploaded[path] for name, path in inputs.items() if path in uploaded}


async def output_of(db: Database, organisation_id: str, run_id: str, file_name: str) -> str | None:
    """The id of a run's output by its name."""
    try:
        wanted = str(UUID(run_id))
    except ValueError:
        return None
    return await comfyui.output_file(db, organisation_id, wanted, file_name)


def _refused(
    kind: str, message: str, details: str = "", nodes: dict[str, Any] | None = None
) -> Response[dict[str, Any]]:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return Response({"error": error, "node_errors": nodes or {}}, status_code=400)


def _node_errors(graph: dict[str, Any], errors: list[FieldError]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for error in errors:
        node_id = error.path.removeprefix("nodes.").partition(".")[0]
        if not error.path.startswith("nodes.") or not isinstance(graph.get(node_id), dict):
            continue
        entry = found.setdefault(
            node_id, {"errors": [], "dependent_outputs": [], "class_type": str(graph[node_id].get("class_type"))}
        )
        entry["errors"].append({"type": error.code, "message": error.message, "details": error.path, "extra_info": {}})
    return found


@get("/prompt", opt=requires("viewer", "runs:read"))
async def remaining(principal: Principal, db: Database) -> dict[str, Any]:
    """How many prompts of the sender's have not ended."""
    return {"exec_info": {"queue_remaining": await comfyui.waiting(db, sender_of(principal))}}


@get("/queue", opt=requires("viewer", "runs:read"))
async def queue(principal: Principal, db: Database) -> dict[str, Any]:
    """The sender's prompts that run, and those that wait."""
    info = await INFOS.of(db, principal.organisation_id)
    found = await comfyui.open_prompts(db, sender_of(principal), MOST_OPEN)
    runs = [item_of(prompt, info) for prompt in found if prompt.status not in ("not-started", "queued")]
    waits = [item_of(prompt, info) for prompt in found if prompt.status in ("not-started", "queued")]
    return {"queue_running": runs, "queue_pending": waits}


def item_of(prompt: Prompt, info: Info) -> list[Any]:
    """A prompt as an entry of the queue: number, id, graph, extra data, output nodes."""
    graph = prompts.as_sent(shown(prompt.graph, prompt.inputs))
    outputs = [
        node_id for node_id, node in graph.items() if info.get(str(node.get("class_type")), {}).get("output_node")
    ]
    return [prompt.number, prompt.id, graph, prompt.extra, outputs]


@post("/queue", status_code=200, opt=requires("developer", "runs:write"))
async def change_queue(request: Request[Principal, Any, State], db: Database, ledger: Ledger) -> Response[bytes]:
    """`clear` or `delete`: prompts of the sender's that wait are cancelled."""
    body = await json_object(request)
    chosen = set(texts(body.get("delete")))
    everything = body.get("clear") is True
    found = await comfyui.open_prompts(db, sender_of(request.user), MOST_OPEN)
    waiting = [one.id for one in found if one.status == "not-started" and (everything or one.id in chosen)]
    await _cancel(ledger, request.user, waiting)
    return done()


async def _cancel(ledger: Ledger, principal: Principal, run_ids: list[str]) -> None:
    why = Cancel(f"cancelled by {principal.actor}")
    changes = [Change(run_id, why, principal.organisation_id) for run_id in run_ids]  # type: ignore[arg-type]
    await ledger.change_all(changes)


@post("/interrupt", status_code=200, opt=requires("developer", "runs:write"))
async def interrupt(request: Request[Principal, Any, State], db: Database, ledger: Ledger) -> Response[bytes]:
    """Stop the sender's prompts that a machine has, or the one named."""
    wanted = (await json_object(request)).get("prompt_id")
    found = await comfyui.open_prompts(db, sender_of(request.user), MOST_OPEN)
    taken = [one.id for one in found if one.status != "not-started" and (wanted is None or one.id == wanted)]
    await _cancel(ledger, request.user, taken)
    return done()


@post("/free", status_code=200, opt=requires("developer", "runs:write"))
async def free() -> Response[bytes]:
    """Nothing is freed: machines are shared, and forget models when they need the room."""
    return done()


@get("/history", opt=requires("viewer", "runs:read"))
async def history(
    principal: Principal, db: Database, max_items: int | None = None, offset: HistoryOffset = -1
) -> dict[str, Any]:
    """The sender's prompts that have ended, oldest first: the newest, or so many from an offset on; 200 at most."""
    most = MOST_HISTORY if max_items is None else max(0, min(max_items, MOST_HISTORY))
    found = await comfyui.ended_prompts(db, sender_of(principal), most, None if offset < 0 else offset)
    return await _entries(db, principal, found)


@get("/history/{prompt_id:str}", opt=requires("viewer", "runs:read"))
async def history_of(prompt_id: str, principal: Principal, db: Database) -> dict[str, Any]:
    """One prompt that has ended, or nothing."""
    try:
        wanted = str(UUID(prompt_id))
    except ValueError:
        return {}
    found = await comfyui.prompt(db, sender_of(principal), wanted)
    return {} if found is None or found.ended_at is None else await _entries(db, principal, [found])


async def _entries(db: Database, principal: Principal, found: list[Prompt]) -> dict[str, Any]:
    info = await INFOS.of(db, principal.organisation_id)
    made = await comfyui.made(db, principal.organisation_id, [one.id for one in found])
    return {one.id: _entry(one, info, made) for one in found}


def _entry(prompt: Prompt, info: Info, made: list[comfyui.MadeRow]) -> dict[str, Any]:
    mine = [(one.node_id, one.kind, one.name, one.data) for one in made if one.run_id == prompt.id]
    ended_at = prompt.ended_at or prompt.created_at
    began = prompt.running_at or ended_at
    start: prompts.Message = (
        "execution_start",
        {"prompt_id": prompt.id, "timestamp": prompts.milliseconds(began)},
    )
    end = prompts.ending(prompt.id, prompt.status, ended_at, prompt.failure, [])
    return prompts.history_entry(item_of(prompt, info), prompts.ui_of(prompt.id, mine), prompt.status, [start, end])


@post("/history", status_code=200, opt=requires("developer", "runs:write"))
async def change_history(request: Request[Principal, Any, State], db: Database) -> Response[bytes]:
    """`clear` or `delete`: taken out of the sender's history; the runs stay."""
    body = await json_object(request)
    chosen = None if body.get("clear") is True else [str(one) for one in _uuids(texts(body.get("delete")))]
    await comfyui.forget(db, sender_of(request.user), chosen)
    return done()


def _uuids(given: list[str]) -> list[UUID]:
    found = []
    for text in given:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


handlers: Final = [
    queue_prompt,
    remaining,
    queue,
    change_queue,
    interrupt,
    free,
    history,
    history_of,
    change_history,
]
