"""What an organisation may have, remembered for seconds, and what is answered when it has that already."""

from __future__ import annotations

import time
from typing import Final

from orchestrator.errors import FieldError, Forbidden, TooMany
from orchestrator.store import usage
from orchestrator.store.db import Database
from orchestrator.wire import Quotas

REMEMBER_S: Final = 5.0
REMEMBERED: Final = 10_000
AGAIN_S: Final = 5.0


class QuotaBook:
    """One for each process. A quota that was changed elsewhere holds here within REMEMBER_S."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[str, tuple[float, Quotas]] = {}

    async def of(self, organisation_id: str) -> Quotas:
        """The organisation's quotas."""
        known, now = self._known.get(organisation_id), time.monotonic()
        if known is not None and now - known[0] < REMEMBER_S:
            return known[1]
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        found = await usage.quotas(self._db, organisation_id)
        self._known[organisation_id] = (now, found)
        return found

    def forget(self, organisation_id: str) -> None:
        """They were changed."""
        self._known.pop(organisation_id, None)

    async def check_storage(self, organisation_id: str, more: int) -> None:
        """Raise Forbidden (`quota_exceeded`) when so many more bytes do not fit."""
        most = (await self.of(organisation_id)).max_storage_bytes
        if most is None:
            return
        used = (await usage.storage(self._db, organisation_id)).bytes
        if used + more > most:
            detail = f"the quota max_storage_bytes is {most}; {used} are taken: delete files, or have the quota raised"
            error = FieldError("max_storage_bytes", detail, "quota_exceeded")
            raise Forbidden(detail, code="quota_exceeded", errors=[error])

    async def running_room(self, organisation_ids: set[str]) -> dict[str, int]:
        """How many more runs may be placed now, for each of the organisations that has a bound."""
        bounds = {one: (await self.of(one)).max_running_runs for one in organisation_ids}
        bounded = {one: most for one, most in bounds.items() if most is not None}
        if not bounded:
            return {}
        running = await usage.running(self._db, list(bounded))
        return {one: max(0, most - running.get(one, 0)) for one, most in bounded.items()}


def queue_full(most: int) -> TooMany:
    """What is answered to a run that would wait beyond the quota."""
    detail = f"the quota max_queued_runs is {most}, and so many runs wait already"
    error = FieldError("max_queued_runs", detail, "quota_exceeded")
    return TooMany(detail, code="quota_exceeded", errors=[error], retry_after_s=AGAIN_S)
