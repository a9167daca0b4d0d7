"""The loop that forgets: runs past their retention, assets past their time, keys that went along with runs that ended,
and the bytes that no file has any more.

Every replica may run it at once: rows are taken under locks that the others skip.
"""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

import structlog

from orchestrator.config import Config
from orchestrator.files import Files
from orchestrator.store import assets, file_lists, files, graphs, retention
from orchestrator.store.db import Database

log = structlog.get_logger("retain")

RUNS: Final = 200
CONTENTS: Final = 200
ASSETS: Final = 200
GRACE_S: Final = 3600.0
"""How long bytes outlive their last file: longer than anybody takes between storing bytes and noting their file."""
DAY_S: Final = 86400


class Retain:
    """Deletes in small turns. grace_s: how long bytes outlive their last file."""

    def __init__(self, db: Database, files: Files, config: Config, grace_s: float = GRACE_S) -> None:
        self._db = db
        self._files = files
        self._days = config.retention_days
        self._grace_s = grace_s

    async def tick(self) -> bool:
        """One turn; True when there is more to do."""
        await graphs.drop_keys(self._db)
        await files.settle(self._db, CONTENTS)
        return await self._drop_runs() | await self._drop_assets() | await self._drop_contents()

    async def _drop_runs(self) -> bool:
        if self._days <= 0:
            return False
        dropped = await retention.drop_runs(self._db, self._days, _id_of_days_ago(self._days - 1), RUNS)
        if dropped:
            log.info("old runs deleted", runs=dropped)
        return dropped == RUNS

    async def _drop_assets(self) -> bool:
        dropped = await assets.drop_expired(self._db, ASSETS)
        if dropped:
            log.info("expired assets deleted", assets=dropped)
        return dropped == ASSETS

    async def _drop_contents(self) -> bool:
        contents = await file_lists.begin_removing(self._db, self._grace_s, CONTENTS)
        for content in contents:
            await self._files.forget_content(content.organisation_id, content.sha256)
            await file_lists.removed(self._db, content)
        return len(contents) == CONTENTS


def _id_of_days_ago(days: int) -> str:
    """The smallest id of that time."""
    milliseconds = int((time.time() - days * DAY_S) * 1000)
    return str(UUID(int=milliseconds << 80))
