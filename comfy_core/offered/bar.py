"""The progress bar nodes are given: it says how far a node is, carries previews and stops the run when asked.

It goes through the executor's own `progress`, and through a hook that packs may put in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_core.progress import advance, scope, stop_if_asked

Hook = Callable[..., None]
"""(value, total, preview, node_id=...) -> None."""


def report(value: float, total: float, preview: Any = None, node_id: str | None = None) -> None:
    """The executor's own hook. Raises Interrupted when the run is to stop."""
    current = scope.get()
    if node_id is None or current is None:
        advance(value, total, preview)
        return
    stop_if_asked()
    current.report(node_id, value, total, preview)


class Hooked:
    """Which hook is told, and whether bars tell anything at all."""

    def __init__(self) -> None:
        self.hook: Hook | None = report
        self.enabled = True


HOOKED = Hooked()


class ProgressBar:
    """Counts to total. node_id: the node it is for, when that is not the one that runs."""

    def __init__(self, total: float, node_id: str | None = None) -> None:
        self.total = total
        self.current: float = 0
        self.node_id = node_id
        self.hook = HOOKED.hook

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """So much is done. preview: ("JPEG" or "PNG", PIL image, longest side or None)."""
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if self.hook is not None and HOOKED.enabled:
            self.hook(self.current, self.total, preview, node_id=self.node_id)

    def update(self, value: float) -> None:
        """So much more is done."""
        self.update_absolute(self.current + value)
