"""The body of a webhook in ComfyDeploy's words, for runs that its clients started. Signed and retried as ours are."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.dialects.comfydeploy.words import Output, outputs_of
from orchestrator.files import Files
from orchestrator.store import comfydeploy as store
from orchestrator.store.db import Database
from orchestrator.wire import ProgressEvent

ONE_OUTPUT = "run.output:"
"""How the outbox names the message about one node's output; the node's id follows."""


async def shown_outputs(db: Database, files: Files, organisation_id: str, run_id: str) -> list[Output]:
    """What the run made, with signed addresses."""
    rows = await store.outputs(db, organisation_id, run_id)
    urls = {row.file_id: files.url(row.file_id, row.name or "output") for row in rows if row.file_id is not None}
    return outputs_of(run_id, rows, urls)


def progress_body(run_id: str, status: str, event: ProgressEvent) -> bytes:
    """`run.updated` of a run that goes on, for webhooks that asked for more than statuses."""
    body: dict[str, Any] = {
        "event_type": "run.updated",
        "run_id": run_id,
        "status": status,
        "live_status": event.text or None,
        "progress": event.value,
        "outputs": [],
    }
    return msgspec.json.encode(body)


async def webhook_body(
    db: Database, files: Files, organisation_id: str, run_id: str, status: str, event_type: str
) -> bytes | None:
    """`run.updated` with all outputs, or `run.output` with one node's; None: the run is gone."""
    if await store.run(db, organisation_id, run_id) is None:
        return None
    outputs = await shown_outputs(db, files, organisation_id, run_id)
    node_id = event_type.removeprefix(ONE_OUTPUT) if event_type.startswith(ONE_OUTPUT) else None
    if node_id is not None:
        outputs = [output for output in outputs if output.node_id == node_id]
    body: dict[str, Any] = {
        "event_type": "run.updated" if node_id is None else "run.output",
        "run_id": run_id,
        "status": status,
        "live_status": None,
        "progress": 1.0 if status == "success" else 0.0,
        "outputs": outputs,
    }
    return msgspec.json.encode(body)
