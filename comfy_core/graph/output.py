"""What a V3 node returns, and what every return is read as: values, something to show, a graph to go on with.

It knows neither nodes nor graphs.
"""

from __future__ import annotations

from typing import Any


class NodeOutput:
    """`NodeOutput(image, mask, ui=...)`. args: one value per declared output.

    ui: a dict, or an object with `as_dict()`. expand: nodes to add to the graph, `args` then being links into it.
    block_execution: a message; every output is then blocked with it.
    """

    __slots__ = ("args", "block_execution", "expand", "ui")

    def __init__(
        self,
        *args: Any,
        ui: Any = None,
        expand: dict[str, Any] | None = None,
        block_execution: str | None = None,
    ) -> None:
        self.args = args
        self.ui = ui
        self.expand = expand
        self.block_execution = block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        """The values; None when there are none."""
        return self.args or None

    def __getitem__(self, slot: int) -> Any:
        return self.args[slot]
