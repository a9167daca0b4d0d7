"""Secrets that machines give to their executors: sealed on the way in, opened for the agent of that machine alone.

A value is never logged, never part of an answer, and in no order: it goes down the agent's own line, and stays nowhere.
"""

from __future__ import annotations

import structlog
from msgspec import structs

from drivers.wire import MachineId
from orchestrator.store import machine_secrets as store
from orchestrator.store.db import Database
from orchestrator.store.machine_secrets import Sealed as Stored
from orchestrator.vault import Sealed, Vault
from orchestrator.wire import MachineSecret

log = structlog.get_logger("secrets")


class MachineSecrets:
    """The only way to the values."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault

    async def set(
        self, organisation_id: str, machine_id: str, name: str, value: str, actor: str
    ) -> MachineSecret | None:
        """Keep a value; None: there is no such machine, or it has too many."""
        bare = Stored(organisation_id, machine_id, name, b"", "", "")
        return await store.save(self._db, self._sealed(bare, value.encode()), actor)

    async def of(self, organisation_id: str, machine_id: MachineId) -> dict[str, str]:
        """What its executors are given, by name. What cannot be opened is left out, and said."""
        values, lost = {}, []
        for stored in await store.of_machine(self._db, organisation_id, machine_id):
            try:
                values[stored.name] = self._opened(stored).decode()
            except Sealed:
                lost.append(stored.name)
        if lost:
            log.warning("secrets of a machine cannot be opened", machine=machine_id, names=lost)
        return values

    async def reseal(self) -> bool:
        """Seal under the present master key what an older one sealed; the tick of a background loop."""
        old = await store.sealed_otherwise(self._db, self._vault.key_id)
        opened = 0
        for stored in old:
            try:
                value = self._opened(stored)
            except Sealed:
                continue
            opened += 1
            await store.reseal(self._db, stored, self._sealed(stored, value))
        if opened < len(old):
            log.warning("secrets of machines cannot be opened", count=len(old) - opened)
        return opened == store.RESEALED

    def _sealed(self, stored: Stored, value: bytes) -> Stored:
        return structs.replace(
            stored,
            sealed=self._vault.seal(_context(stored), value),
            key=self._vault.key_id,
            fingerprint=self._vault.fingerprint(f"machine-secret:{stored.organisation_id}", value),
        )

    def _opened(self, stored: Stored) -> bytes:
        return self._vault.open(_context(stored), stored.sealed)


def _context(stored: Stored) -> str:
    return f"machine-secret:{stored.organisation_id}:{stored.machine_id}:{stored.name}"
