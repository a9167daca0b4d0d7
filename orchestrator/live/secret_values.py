"""An organisation's secrets: sealed on the way in, opened for those that use them, sealed again under a new master key.

It knows no route. A value is never logged, and never part of an answer.
"""

from __future__ import annotations

import structlog

from orchestrator.store import organisations
from orchestrator.store.db import Database
from orchestrator.store.organisations import Sealed as Stored
from orchestrator.vault import Sealed, Vault
from orchestrator.wire import SecretInfo

log = structlog.get_logger("secrets")


def context_of(organisation_id: str, name: str) -> str:
    """The place that a value is bound to."""
    return f"secret:{organisation_id}:{name}"


class SecretValues:
    """The only way to the values."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault

    async def set(
        self, organisation_id: str, name: str, value: str, actor: str, machines: dict[str, str] | None = None
    ) -> SecretInfo | None:
        """Keep a value, and give it to machines with these labels; None: the organisation has too many."""
        sealed = self._vault.seal(context_of(organisation_id, name), value.encode())
        stored = Stored(organisation_id, name, sealed, self._vault.key_id, machines)
        return await organisations.set_secret(self._db, stored, actor)

    async def value(self, organisation_id: str, name: str) -> str | None:
        """The value, or None when there is none of that name. Raises vault.Sealed when its master key is gone."""
        sealed = await organisations.sealed_secret(self._db, organisation_id, name)
        return None if sealed is None else self._vault.open(context_of(organisation_id, name), sealed).decode()

    async def reseal(self) -> bool:
        """Seal under the present master key what an older one sealed; the tick of a background loop."""
        old = await organisations.sealed_otherwise(self._db, self._vault.key_id)
        opened = 0
        for stored in old:
            context = context_of(stored.organisation_id, stored.name)
            try:
                value = self._vault.open(context, stored.sealed)
            except Sealed:
                continue
            opened += 1
            await organisations.reseal(self._db, stored, self._vault.seal(context, value), self._vault.key_id)
        if opened < len(old):
            log.warning("secrets cannot be opened", count=len(old) - opened)
        return opened == organisations.RESEALED
