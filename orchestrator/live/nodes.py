"""What a machine says that a node of a run has made, in words for whoever watches: names instead of files' ids."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from drivers.wire import AttemptId, Output
from orchestrator.store import files
from orchestrator.store.db import Database


async def told(db: Database, attempt_id: AttemptId, outputs: list[Output]) -> list[tuple[str, str | None, object]]:
    """Kind, file name and value of each; files that were not granted to the attempt are left out."""
    wanted = _uuids(output.file_id for output in outputs)
    rows = await files.of_attempt(db, UUID(attempt_id), wanted) if wanted else []
    names = {row.id: row.name for row in rows}
    return [
        (output.kind, None if output.file_id is None else names[output.file_id], output.data)
        for output in outputs
        if output.file_id is None or output.file_id in names
    ]


def _uuids(texts: Iterable[str | None]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text or ""))
        except ValueError:
            continue
    return found
