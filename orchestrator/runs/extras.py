"""A prompt's `extra_data`, sorted out: what is kept with it, and keys of other services, which are not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

KEPT: Final = "extra_pnginfo"
"""The editor's graph, which outputs are saved with: no secret, and shown again."""
OURS: Final = frozenset({"fleet"})
"""What we tell our own executor there."""
MOST_BYTES: Final = 16_384


class Extra(Struct, frozen=True):
    """kept: stored and shown again. keys: everything else; for the nodes alone."""

    kept: dict[str, Any] = {}
    keys: dict[str, Any] = {}


def sorted_out(extra: Any) -> Extra:
    """What of it is kept, and what goes to the nodes and nowhere else. Nothing in what is no object."""
    if not isinstance(extra, Mapping):
        return Extra()
    kept = {KEPT: extra[KEPT]} if KEPT in extra else {}
    return Extra(kept, {name: value for name, value in extra.items() if name != KEPT and name not in OURS})


def why_too_much(keys: Mapping[str, Any]) -> str | None:
    """Why keys are not taken; None: they are."""
    if keys and len(msgspec.json.encode(keys)) > MOST_BYTES:
        return f"extra_data: apart from {KEPT} it may have at most {MOST_BYTES} bytes"
    return None
