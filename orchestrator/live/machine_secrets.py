"""Secrets that machines give to their executors: sealed on the way in, opened for the agent of that machine alone.

A value is never logged, never part of an answer, and in no order: it goes down the agent's own line, and stays nowhere.
"""

from __future__ import annotations

from typing import Final

import structlog
from msgspec import structs

from drivers.environment import why_not
from drivers.wire import MachineId
from orchestrator.errors import FieldError, Invalid
from orchestrator.live.secret_values import context_of
from orchestrator.store import machine_secrets as store
from orchestrator.store import organisations
from orchestrator.store.db import Database
from orchestrator.store.machine_secrets import Sealed as Stored
from orchestrator.vault import Sealed, Vault
from orchestrator.wire import MachineSecret

log = structlog.get_logger("secrets")

SHORTEST: Final = 8
LONGEST: Final = 16_384


def check(name: str, value: str) -> None:
    """Raise Invalid for what cannot be an executor's environment variable. A shorter value could not be hidden in what
    runs write.
    """
    why = why_not(name)
    if why is not None:
        raise Invalid(f"name: {why}", errors=[FieldError("name", why)])
    size = len(value.encode("utf-8", "surrogatepass"))
    if "\0" in value or not len(value) >= SHORTEST or size > LONGEST:
        detail = f"a machine's has at least {SHORTEST} characters and at most {LONGEST} bytes, none of them NUL"
        raise Invalid(f"value: {detail}", errors=[FieldError("value", detail)])


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
        """What its executors are given, by name: the organisation's for its labels, and before those its own.

        What cannot be opened is left out, and said.
        """
        shared = await organisations.given(self._db, organisation_id, machine_id)
        own = await store.of_machine(self._db, organisation_id, machine_id)
        sealed = {one.name: (context_of(organisation_id, one.name), one.sealed) for one in shared}
        sealed |= {one.name: (_context(one), one.sealed) for one in own}
        values, lost = {}, []
        for name, (context, value) in sealed.items():
            try:
                values[name] = self._vault.open(context, value).decode()
            except Sealed:
                lost.append(name)
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
