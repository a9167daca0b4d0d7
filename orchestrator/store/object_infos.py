"""What executors answer to /object_info: one row for each different answer of an organisation's machines."""

from __future__ import annotations

from msgspec import Struct

from orchestrator.store.db import Database


class Told(Struct, frozen=True):
    """A machine and the name of what its executor answers; live: it is connected now."""

    machine_id: str
    name: str
    hash: bytes
    live: bool


async def has(db: Database, organisation_id: str, name: bytes) -> bool:
    """Whether it is kept already."""
    return bool(
        await db.fetchval(
            "select exists (select from object_infos where organisation_id = $1 and hash = $2)", organisation_id, name
        )
    )


async def save(db: Database, organisation_id: str, name: bytes, body: bytes) -> None:
    """Keep an answer, zlib-compressed; old ones that no machine names any more are forgotten."""
    await db.execute(
        "insert into object_infos (organisation_id, hash, body) values ($1, $2, $3) on conflict do nothing",
        organisation_id,
        name,
        body,
    )
    await db.execute(
        """
        delete from object_infos o where o.organisation_id = $1 and o.created_at < now() - interval '1 day'
          and not exists (select from machines m where m.organisation_id = o.organisation_id
                          and m.inventory ->> 'object_info' = encode(o.hash, 'hex'))
        """,
        organisation_id,
    )


async def newest(db: Database, organisation_id: str) -> list[bytes]:
    """The names of what machines that were not deleted told, the newest first."""
    rows = await db.fetch(
        """
        select o.hash from object_infos o where o.organisation_id = $1 and exists (
          select from machines m where m.organisation_id = $1 and m.deleted_at is null
                                   and m.inventory ->> 'object_info' = encode(o.hash, 'hex'))
        order by o.created_at desc, o.hash
        """,
        organisation_id,
    )
    return [row["hash"] for row in rows]


async def told(db: Database, organisation_id: str) -> list[Told]:
    """Which machines told what, oldest machine first."""
    rows = await db.fetch(
        """
        select m.id, m.name, o.hash, coalesce(b.connected and b.lease_until > now(), false) as live
        from machines m join object_infos o on o.organisation_id = m.organisation_id
          and encode(o.hash, 'hex') = m.inventory ->> 'object_info'
        left join machine_beats b on b.machine_id = m.id
        where m.organisation_id = $1 and m.deleted_at is null order by m.id
        """,
        organisation_id,
    )
    return [Told(str(row["id"]), row["name"], row["hash"], row["live"]) for row in rows]


async def bodies(db: Database, organisation_id: str, names: list[bytes]) -> dict[bytes, bytes]:
    """The answers of these names, zlib-compressed."""
    rows = await db.fetch(
        "select hash, body from object_infos where organisation_id = $1 and hash = any($2::bytea[])",
        organisation_id,
        names,
    )
    return {row["hash"]: row["body"] for row in rows}
