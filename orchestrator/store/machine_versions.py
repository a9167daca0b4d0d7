"""What machines were: versions that the database makes when a machine's configuration or whole inventory changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

from orchestrator.store.db import Database
from orchestrator.wire import MachineVersion

if TYPE_CHECKING:
    from asyncpg import Record

_COLUMNS: LiteralString = """
    id::text, number, created_at, encode(hash, 'hex') as hash, kind::text as kind, agent_version, labels, policy,
    endpoint, jsonb_array_length(inventory -> 'node_classes') as node_classes,
    coalesce(jsonb_array_length(inventory -> 'models'), 0) as models,
    coalesce(jsonb_array_length(inventory -> 'packs'), 0) as packs
"""


async def page(
    db: Database, organisation_id: str, machine_id: UUID, before: UUID | None, limit: int
) -> list[MachineVersion]:
    """Newest first, without inventories."""
    rows = await db.fetch(
        f"""
        select {_COLUMNS} from machine_versions
        where organisation_id = $1 and machine_id = $2 and ($3::uuid is null or number < (
          select number from machine_versions where id = $3 and machine_id = $2))
        order by number desc limit $4
        """,  # noqa: S608  a constant
        organisation_id,
        machine_id,
        before,
        limit,
    )
    return [_version(row) for row in rows]


async def get(db: Database, organisation_id: str, machine_id: UUID, number: int) -> MachineVersion | None:
    """One, with its inventory; None: the organisation's machine has none of that number."""
    row = await db.fetchrow(
        f"""
        select {_COLUMNS}, inventory from machine_versions
        where organisation_id = $1 and machine_id = $2 and number = $3
        """,  # noqa: S608  a constant
        organisation_id,
        machine_id,
        number,
    )
    return None if row is None else _version(row)


def _version(row: Record) -> MachineVersion:
    return MachineVersion(**dict(row))
