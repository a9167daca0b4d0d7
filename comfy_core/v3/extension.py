"""What a V3 pack's `comfy_entrypoint` returns. It knows no loader."""

from __future__ import annotations

from abc import ABC, abstractmethod

from comfy_core.v3.node import ComfyNode


class ComfyExtension(ABC):
    """A pack's nodes, asked for once after the pack was imported."""

    async def on_load(self) -> None:
        """Called before the nodes are asked for."""
        return

    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]:
        """The pack's node classes."""
