"""How a caller wants to be answered: the Prefer header's wait (RFC 7240), and whether it reads a stream. Pure."""

from __future__ import annotations

import re
from typing import Final

LONGEST_WAIT_S: Final = 120.0
_WAIT = re.compile(r"""(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?=[,;]|$)""", re.IGNORECASE)


def wait_s(prefer: str | None) -> float | None:
    """The seconds that `Prefer: wait=N` asks for, at most LONGEST_WAIT_S; None when it asks for no wait.

    A preference that cannot be read is ignored, as the RFC has it.
    """
    match = _WAIT.search(prefer or "")
    return None if match is None else min(float(match.group(1)), LONGEST_WAIT_S)


def wants_stream(accept: str | None) -> bool:
    """Whether an Accept header names text/event-stream."""
    kinds = (part.partition(";")[0].strip().lower() for part in (accept or "").split(","))
    return "text/event-stream" in kinds
