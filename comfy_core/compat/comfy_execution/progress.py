"""Progress of nodes as packs report it; it reaches clients as ProgressBar's does. Handlers of packs are not called."""

from __future__ import annotations

from enum import Enum
from typing import Any

from comfy_core.progress import scope


class NodeState(Enum):
    """Where a node stands."""

    Pending = "pending"
    Running = "running"
    Finished = "finished"
    Error = "error"


class ProgressHandler:
    """A base class for what watches progress."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = True

    def enable(self) -> None:
        """Watch."""
        self.enabled = True

    def disable(self) -> None:
        """Watch no more."""
        self.enabled = False


class ProgressRegistry:
    """The progress of the running prompt."""

    @property
    def prompt_id(self) -> str | None:
        """The prompt this code runs for."""
        current = scope.get()
        return current.prompt_id if current is not None else None

    def update_progress(self, node_id: str, value: float, max_value: float, image: Any = None) -> None:
        """Say that `value` of `max_value` steps are done. image: (kind, PIL image, largest side or None)."""
        current = scope.get()
        if current is not None:
            current.report(node_id, value, max_value, image)

    def register_handler(self, handler: ProgressHandler) -> None:
        """Taken, and not called."""


_REGISTRY = ProgressRegistry()


def get_progress_state() -> ProgressRegistry:
    """The progress of the running prompt."""
    return _REGISTRY


def add_progress_handler(handler: ProgressHandler) -> None:
    """Taken, and not called."""
    _REGISTRY.register_handler(handler)
