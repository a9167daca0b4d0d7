"""What people note about runs: favourites, notes, tags. It knows nothing of a run's life."""

from __future__ import annotations

from orchestrator import wire
from orchestrator.store.db import Database


async def mark(db: Database, organisation_id: str, run_id: str, change: wire.RunUpdate) -> bool:
    """Take over what is given; what is None stays. False: the organisation has no such run."""
    done = await db.execute(
        """
        insert into run_marks as k (run_id, organisation_id, favourite, note, tags)
        select r.id, r.organisation_id, coalesce($3, false), coalesce($4, ''), coalesce($5::text[], '{}')
        from runs r where r.id = $1 and r.organisation_id = $2
        on conflict (run_id) do update set
          favourite = coalesce($3, k.favourite), note = coalesce($4, k.note), tags = coalesce($5::text[], k.tags),
          updated_at = now()
        """,
        run_id,
        organisation_id,
        change.favourite,
        change.note,
        None if change.tags is None else list(dict.fromkeys(change.tags)),
    )
    return done != "INSERT 0 0"
