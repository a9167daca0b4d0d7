"""A run as it is shown outside, with signed links to its outputs: for the API, webhooks and the dashboard alike."""

from __future__ import annotations

from orchestrator import wire
from orchestrator.files import Files
from orchestrator.store import runs
from orchestrator.store.db import Database


async def signed_outputs(db: Database, files: Files, organisation_id: str, run_id: str) -> list[wire.RunOutput]:
    """The run's outputs in node order; those that are files carry a link that expires."""
    outputs = await runs.outputs_of(db, organisation_id, run_id)
    for output in outputs:
        if output.file_id is not None:
            output.url = files.url(output.file_id, output.name or "output")
    return outputs


async def shown_run(db: Database, files: Files, organisation_id: str, run_id: str) -> wire.Run | None:
    """The run with its outputs, or None when the organisation has no such run."""
    run = await runs.get(db, organisation_id, run_id)
    if run is not None:
        run.outputs = await signed_outputs(db, files, organisation_id, run_id)
    return run
