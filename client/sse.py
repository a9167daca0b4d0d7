"""Server-sent events, read from lines. Knows the format, not who sends it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from msgspec import Struct


class Message(Struct, frozen=True):
    """One event: its name ("message" when unnamed), data and, when it has one, id."""

    event: str
    data: str
    id: str | None = None


async def messages(lines: AsyncIterable[str]) -> AsyncIterator[Message]:
    """Events as they complete. Comments (keep-alives) and unknown fields are passed over."""
    event, data, ident = "message", [], None  # type: str, list[str], str | None
    async for line in lines:
        if not line:
            if data:
                yield Message(event, "\n".join(data), ident)
            event, data, ident = "message", [], None
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            ident = value
