"""What people note about runs: favourites, notes, tags. It knows nothing of a run's life."""

from __future__ import annotations

from orchestrator import wire
from orchestrator.store import revisions
from orchestrator.store.db import Database


async def mark(
    db: Database, organisation_id: str, run_id: str, change: wire.RunUpdate, expected: int | None = None
) -> bool:
    """Take over what is given; what is None stays. False: the organisation has no such run.

    expected: the revision of what was noted before (0: nothing). Raises PreconditionFailed when it is another.
    """
    done = await db.execute(
        """
        insert into run_marks as k (run_id, organisation_id, favourite, note, tags)
        select r.id, r.organisation_id, coalesce($3, false), coalesce($4, ''), coalesce($5::text[], '{}')
        from runs r where r.id = $1 and r.organisation_id = $2
          and ($6::int is null or $6 = 0 or exists (select from run_marks m where m.run_id = r.id))
        on conflict (run_id) do update set
          favourite = coalesce($3, k.favourite), note = coalesce($4, k.note), tags = coalesce($5::text[], k.tags),
          updated_at = now()
        where $6::int is null or k.revision = $6
        """,
        run_id,
        organisation_id,
        change.favourite,
        change.note,
        None if change.tags is None else list(dict.fromkeys(change.tags)),
        expected,
    )
    if done == "INSERT 0 0" and expected is not None:
        raise revisions.changed_meanwhile("run", await revisions.present(db, "run", organisation_id, run_id))
    return done != "INSERT 0 0"
