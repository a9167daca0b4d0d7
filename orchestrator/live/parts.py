"""What the busiest handlers use, in one piece.

Litestar resolves several injected parameters as tasks of a task group, which costs a busy route more than its own work;
a single one is called directly. Routes that are not busy take what they need by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from orchestrator.auth import MachineCredentials
from orchestrator.config import Config
from orchestrator.files import Files
from orchestrator.live.abilities import Abilities
from orchestrator.live.queue import Queue
from orchestrator.store.db import Database
from orchestrator.store.ledger import Ledger

OtherReports = Callable[[Any, bytes], Awaitable[dict[str, str] | None]]
"""(request, body) -> the answer to a report that is in other words than our agents'; None: it is no such report."""


class Parts(Struct):
    """Shared by every request of the process."""

    config: Config
    db: Database
    files: Files
    queue: Queue
    ledger: Ledger
    credentials: MachineCredentials
    abilities: Abilities
    plugin: OtherReports
