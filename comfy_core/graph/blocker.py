"""The value that stands for "nothing comes here". It knows no nodes.

A node that is given a blocker is not called; its outputs become blockers too, so a branch of a graph can be shut off.
"""

from __future__ import annotations


class ExecutionBlocker:
    """Put in the place of an output. message: told to the user when the block reaches a node; None blocks silently."""

    __slots__ = ("message",)

    def __init__(self, message: str | None = None) -> None:
        self.message = message
