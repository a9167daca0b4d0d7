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
        self._known: dict[str, tuple[float, Quotas]] = {}  # until when, and what

    async def of(self, organisation_id: str) -> Quotas:
        """The organisation's quotas."""
        return (await self.of_all({organisation_id}))[organisation_id]

    async def of_all(self, organisation_ids: set[str]) -> dict[str, Quotas]:
        """Quotas of each; those that are not remembered are asked for together."""
        now = time.monotonic()
        fresh = {one: known[1] for one in organisation_ids if (known := self._known.get(one)) and known[0] > now}
        missing = organisation_ids - fresh.keys()
        if missing:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = await usage.quotas_of(self._db, list(missing))
            self._known |= {one: (now + REMEMBER_S, quotas) for one, quotas in found.items()}
            fresh |= found
        return fresh

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
        quotas = await self.of_all(organisation_ids)
        bounded = {one: most for one, found in quotas.items() if (most := found.max_running_runs) is not None}
        if not bounded:
            return {}
        running = await usage.running(self._db, list(bounded))
        return {one: max(0, most - running.get(one, 0)) for one, most in bounded.items()}


def queue_full(most: int) -> TooMany:
    """What is answered to a run that would wait beyond the quota."""
    detail = f"the quota max_queued_runs is {most}, and so many runs wait already"
    error = FieldError("max_queued_runs", detail, "quota_exceeded")
    return TooMany(detail, code="quota_exceeded", errors=[error], retry_after_s=AGAIN_S)
