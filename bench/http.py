"""A keep-alive HTTP/1.1 connection that costs next to nothing, so that the load does not measure itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

_END, _LENGTH = b"\r\n\r\n", b"content-length:"


def head_of(url: str, bearer: str) -> str:
    """The headers that all requests to a server have."""
    return f"Host: {urlsplit(url).netloc}\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n"


class Pump(asyncio.Protocol):
    """A connection that is kept busy: what `following` gives is sent as soon as the last answer is there.

    done: how many were answered; failed: the first answer that was no success.
    """

    def __init__(self, following: Callable[[], bytes]) -> None:
        self._following = following
        self._buffer = b""
        self._transport: Any = None
        self.done = 0
        self.failed: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._transport.write(self._following())

    def data_received(self, data: bytes) -> None:
        """Count a whole answer and send the next request."""
        buffer = self._buffer = self._buffer + data
        end = buffer.find(_END)
        if end < 0:
            return
        start = buffer.lower().index(_LENGTH) + len(_LENGTH)
        length = int(buffer[start : buffer.index(b"\r\n", start)])
        if len(buffer) < end + len(_END) + length:
            return
        if not buffer.startswith(b"HTTP/1.1 2"):
            self.failed = self.failed or buffer[:300]
        self._buffer = b""
        self.done += 1
        self._transport.write(self._following())

    def stop(self) -> None:
        """End, whatever is on its way."""
        self._transport.close()


class Connection:
    """One connection; one request at a time. JSON in, JSON out."""

    def __init__(self, url: str, bearer: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = head_of(url, bearer)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._writer.close()

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """POST; returns the decoded answer. Raises RuntimeError with its text unless the status is 2xx."""
        data = msgspec.json.encode(body)
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        request = f"POST {path} HTTP/1.1\r\n{self._head}{more}Content-Length: {len(data)}\r\n\r\n".encode() + data
        try:
            head = await self._send(request)
        except (asyncio.IncompleteReadError, ConnectionError):  # the server closed what was idle
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            head = await self._send(request)
        low = head.lower()
        start = low.index(b"content-length:") + 15
        answer = await self._reader.readexactly(int(low[start : low.index(b"\r\n", start)]))
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{path}: {head.split(b' ', 2)[1].decode()} {answer[:300].decode(errors='replace')}")
        return msgspec.json.decode(answer) if answer else None

    async def _send(self, request: bytes) -> bytes:
        self._writer.write(request)
        return await self._reader.readuntil(b"\r\n\r\n")
