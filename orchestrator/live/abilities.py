"""Which machines can run a version, remembered, so that starting a run asks the database nothing for it.

A lane that somebody can run stays so for LIFE_S without another look; one that nobody can is looked at every time. It
knows no HTTP; the comparison is runs/compatibility.py's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from orchestrator.errors import Invalid
from orchestrator.live.infos import INFOS
from orchestrator.live.policing import refuse_forbidden
from orchestrator.runs.compatibility import Candidate, Holdings, compare, eligible, holdings_of, judge, refusal, summary
from orchestrator.runs.requirements import Requirements
from orchestrator.store import inventories
from orchestrator.store.db import Database
from orchestrator.wire import Compatibility

LIFE_S: Final = 15.0
LANES: Final = 10_000
MACHINES: Final = 5_000


class Abilities:
    """One per process. `require` before a run is queued, `of_version` for whoever asks."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._good_until: OrderedDict[int, float] = OrderedDict()
        self._holdings: OrderedDict[str, tuple[datetime, Holdings]] = OrderedDict()

    async def require(
        self, lane: int, organisation_id: str, version_id: str, pool: Mapping[str, str], pinned: str | None
    ) -> None:
        """Raise Invalid (no_machine_can_run) when none of the machines that the lane's runs may go to can run them.

        And (node_forbidden) when the organisation's policy does not let them run.
        """
        now = asyncio.get_running_loop().time()
        if self._good_until.get(lane, 0.0) > now:
            return
        needs = await inventories.requirements(self._db, organisation_id, version_id)
        if needs is not None:
            await refuse_forbidden(self._db, organisation_id, needs.node_classes)
            machines = eligible(await self._candidates(organisation_id), pool, pinned)
            judged = [judge(needs, machine, needs.node_packs) for machine in machines]
            errors = refusal(judged)
            if errors:
                raise Invalid(f"no machine can run it: {summary(judged)}", code="no_machine_can_run", errors=errors)
        self._good_until[lane] = now + LIFE_S
        self._good_until.move_to_end(lane)
        while len(self._good_until) > LANES:
            self._good_until.popitem(last=False)

    async def of_version(self, organisation_id: str, version_id: str) -> Compatibility | None:
        """The version beside every machine of the organisation; None: there is no such version."""
        needs = await inventories.requirements(self._db, organisation_id, version_id)
        if needs is None:
            return None
        machines = await self._candidates(organisation_id)
        return compare(version_id, needs, machines, await self._packs(organisation_id, needs))

    async def _packs(self, organisation_id: str, needs: Requirements) -> dict[str, str]:
        """Which pack a class is of: as a machine that has it says, or else as the editor said."""
        specs = await INFOS.specs(self._db, organisation_id, needs.node_classes)
        return {**needs.node_packs, **{name: spec.pack for name, spec in specs.items() if spec.pack}}

    async def _candidates(self, organisation_id: str) -> list[Candidate]:
        """The organisation's machines; inventories are fetched only of those that changed since the last look."""
        rows = await inventories.machines(self._db, organisation_id)
        stale = [row.id for row in rows if self._known(row) is None]
        if stale:
            fetched = await inventories.inventories(self._db, organisation_id, stale)
            for row in rows:
                if row.id in fetched:
                    self._holdings[row.id] = (row.updated_at, holdings_of(fetched[row.id]))
        found = [Candidate(row.id, row.name, row.state, row.labels, self._known(row) or Holdings()) for row in rows]
        while len(self._holdings) > MACHINES:
            self._holdings.popitem(last=False)
        return found

    def _known(self, row: inventories.MachineRow) -> Holdings | None:
        known = self._holdings.get(row.id)
        return known[1] if known is not None and known[0] == row.updated_at else None
