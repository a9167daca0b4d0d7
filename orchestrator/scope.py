"""What the scope of a connection says, read as it stands: cheaper than the framework's mapping of all headers."""

from __future__ import annotations

from litestar.types import Scope


def sent(scope: Scope, name: bytes) -> str | None:
    """The value of the header of this name, which is given in lower case; the first of several. None: not sent."""
    for known, value in scope["headers"]:
        if known == name:
            return value.decode("latin-1")
    return None
