"""Imports the packs that were found, one after another, each with a time limit."""

from __future__ import annotations

from comfy_core.surface import Surface


async def load_all(surface: Surface) -> None:
    """Import every pack."""
