"""A client's line: messages out, in as few writes as may be. It knows what a message is and not what it says.

Each write wakes the reader's process, which costs it and us more than a small message does; a prompt that takes a
millisecond has nine of them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import Any

from aiohttp import WSMsgType, web

Message = tuple[WSMsgType, bytes]
"""Text or binary, ready to be sent."""

FULL = 1 << 20
"""Bytes that may wait in the transport; beyond them each message waits until the client has read."""
FINAL = 0x80
SHORT, MEDIUM = 126, 1 << 16


class Line:
    """One open socket and the transport under it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self._transport = transport

    async def send(self, messages: list[Message]) -> None:
        """Send messages in order. Raises ConnectionError when the line is cut."""
        if len(messages) == 1 or not self.write(messages):
            for kind, data in messages:
                await self.socket.send_frame(data, kind)

    def write(self, messages: Iterable[Any]) -> bool:
        """Send messages at once, unless they have to wait or the line is cut; whether they are on their way."""
        transport = self._transport
        if transport is None or self.socket.compress or transport.is_closing() or self._is_full(transport):
            return False
        pieces: list[bytes] = []
        for kind, data in messages:
            pieces += (head(kind, len(data)), data)
        transport.write(b"".join(pieces))
        return True

    def abort(self) -> None:
        """Cut the line, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    def _is_full(self, transport: asyncio.Transport) -> bool:
        return transport.get_write_buffer_size() > FULL


def head(kind: WSMsgType, length: int) -> bytes:
    """What comes before a whole message in one frame, unmasked as a server's are (RFC 6455, 5.2)."""
    if length < SHORT:
        return bytes((FINAL | kind, length))
    if length < MEDIUM:
        return struct.pack("!BBH", FINAL | kind, 126, length)
    return struct.pack("!BBQ", FINAL | kind, 127, length)
