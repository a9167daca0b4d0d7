"""What machines said they have, for whoever compares it with versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.runs.requirements import Requirements
from orchestrator.store.db import Database
from orchestrator.wire import MachineState


class MachineRow(Struct, frozen=True):
    """A machine without its inventory, which is large; updated_at changes whenever the inventory does."""

    id: str
    name: str
    state: MachineState
    labels: dict[str, str]
    updated_at: datetime


async def machines(db: Database, organisation_id: str) -> list[MachineRow]:
    """The organisation's machines that were not deleted, oldest first."""
    rows = await db.fetch(
        """
        select id, name, state::text as state, labels, updated_at from machines
        where organisation_id = $1 and deleted_at is null order by id
        """,
        organisation_id,
    )
    return [MachineRow(str(row["id"]), row["name"], row["state"], row["labels"], row["updated_at"]) for row in rows]


async def inventories(db: Database, organisation_id: str, machine_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Parts of the machines' inventories that versions are compared with, by machine."""
    rows = await db.fetch(
        """
        select id, jsonb_build_object('node_classes', inventory -> 'node_classes', 'models', inventory -> 'models',
                                      'packs', inventory -> 'packs') as inventory
        from machines where organisation_id = $1 and id = any($2::uuid[])
        """,
        organisation_id,
        machine_ids,
    )
    return {str(row["id"]): row["inventory"] for row in rows}


async def requirements(db: Database, organisation_id: str, version_id: str) -> Requirements | None:
    """What a version needs; None: the organisation has no such version."""
    found = await db.fetchval(
        """
        select v.requirements from workflow_versions v
        join workflows w on w.id = v.workflow_id and w.deleted_at is null
        where v.organisation_id = $1 and v.id = $2 and v.deleted_at is null
        """,
        organisation_id,
        version_id,
    )
    return None if found is None else msgspec.convert(found, Requirements)
