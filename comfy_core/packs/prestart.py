"""Before torch: which packs there are, and their prestart scripts. It imports no pack."""

from __future__ import annotations

from comfy_core.surface import Surface


def prepare(surface: Surface) -> None:
    """Find the packs and run their prestart scripts."""
