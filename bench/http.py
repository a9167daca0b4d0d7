"""A keep-alive HTTP/1.1 connection that costs next to nothing, so that the load does not measure itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec


class Connection:
    """One connection; one request at a time. JSON in, JSON out."""

    def __init__(self, url: str, bearer: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n"

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
