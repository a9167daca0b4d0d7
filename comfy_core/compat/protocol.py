"""`protocol`: the kinds of binary messages."""

from server import BinaryEventTypes

__all__ = ["BinaryEventTypes"]
