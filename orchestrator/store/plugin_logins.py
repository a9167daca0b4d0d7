"""Logins of the ComfyUI plugin: a user grants a request, the plugin that made it collects a key, once."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from orchestrator.store import audit
from orchestrator.store.db import Database


class Granted(Struct, frozen=True):
    """Who granted it, and for which organisation."""

    organisation_id: str
    user_id: str
    organisation: str


async def grant(
    db: Database, request_hash: bytes, organisation_id: str, user_id: str, life_s: float, actor: str
) -> bool:
    """Let whoever made the request collect a key. False: it was granted before."""
    async with db.transaction() as connection:
        await connection.execute("delete from plugin_logins where expires_at < now() - interval '1 day'")
        made = await connection.execute(
            """
            insert into plugin_logins (request_hash, organisation_id, user_id, expires_at)
            values ($1, $2, $3, now() + make_interval(secs => $4)) on conflict (request_hash) do nothing
            """,
            request_hash,
            organisation_id,
            user_id,
            life_s,
        )
        if made == "INSERT 0 0":
            return False
        await audit.record(connection, organisation_id, actor, "plugin.grant", f"user:{user_id}")
    return True


async def collect(db: Database, request_hash: bytes) -> Granted | Literal["absent", "used", "expired"]:
    """Take a grant, once. Whose it is, or why it cannot be had."""
    row = await db.fetchrow(
        """
        with taken as (
          update plugin_logins set taken_at = now()
          where request_hash = $1 and taken_at is null and expires_at > now()
          returning organisation_id, user_id
        )
        select t.organisation_id, t.user_id, o.name from taken t join organisations o on o.id = t.organisation_id
        """,
        request_hash,
    )
    if row is not None:
        return Granted(str(row["organisation_id"]), str(row["user_id"]), row["name"])
    taken = await db.fetchval("select taken_at is not null from plugin_logins where request_hash = $1", request_hash)
    if taken is None:
        return "absent"
    return "used" if taken else "expired"
