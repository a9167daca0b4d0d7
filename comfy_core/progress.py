"""Where a node's code says how far it is and asks whether to stop. It knows no sockets and no queue.

The executor sets the scope around each call; it travels in a context variable, so that nodes need not be told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Any

import msgspec

from comfy_core.errors import Interrupted

Report = Callable[[str, float, float, Any], None]
"""(node id, value, maximum, preview image or None)."""
INTERRUPTED = "the run was interrupted"


class Scope(msgspec.Struct, frozen=True):
    """The call under way. call: its index, when lists make the node run several times."""

    prompt_id: str
    node_id: str
    report: Report
    interrupted: Callable[[], bool]
    call: int = 0
    graphs: count[int] = msgspec.field(default_factory=count)

    def next_graph(self) -> int:
        """How many graphs this call has begun to build; 0 the first time."""
        return next(self.graphs)


scope: ContextVar[Scope | None] = ContextVar("scope", default=None)


def stop_if_asked() -> None:
    """Raise Interrupted when someone asked this run to stop."""
    current = scope.get()
    if current is not None and current.interrupted():
        raise Interrupted(INTERRUPTED)


def advance(value: float, maximum: float, preview: Any = None) -> None:
    """Say that `value` of `maximum` steps are done. Raises Interrupted when the run is to stop."""
    stop_if_asked()
    current = scope.get()
    if current is not None:
        current.report(current.node_id, value, maximum, preview)
