"""One HTTP connection pool to an orchestrator: typed answers, errors as ours, retries where they are safe.

It knows neither the resources nor the command line.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from client import errors

T = TypeVar("T")
TRIES = 7  # over about 5 s: long enough for an orchestrator that restarts
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
BUSY = frozenset({429, 503})


class Http:
    """Requests to one orchestrator. A GET is tried again when the network or the server is away for a moment;
    anything else only when it cannot have arrived."""

    def __init__(self, url: str, api_key: str, timeout_s: float) -> None:
        self.url = url.rstrip("/") + "/"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(timeout_s), follow_redirects=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        files: Callable[[], Mapping[str, Any]] | None = None,
    ) -> T:
        """Sends one request and decodes the answer. `files` opens a multipart body afresh for each try."""
        content = None if body is None else msgspec.json.encode(body)
        headers = dict(self._headers) | ({"Content-Type": "application/json"} if content is not None else {})
        params = _parameters(query or {})

        async def once() -> httpx.Response:
            return await self._client.request(
                method,
                urljoin(self.url, path),
                content=content,
                headers=headers,
                params=params,
                files=files() if files else None,
            )

        response = await self._with_retries(once, repeatable=method == "GET")
        if response.status_code >= 400:
            raise errors.from_answer(response.status_code, response.content)
        if answer is type(None) or not response.content:
            return cast("T", None)  # callers ask for NoneType where there is no body
        return msgspec.json.decode(response.content, type=answer)

    async def _with_retries(self, once: Callable[[], Any], *, repeatable: bool) -> httpx.Response:
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                response: httpx.Response = await once()
            except httpx.TransportError as error:
                if last or not (repeatable or isinstance(error, UNSENT)):
                    raise errors.Unreachable(f"no answer from {self.url} ({type(error).__name__}: {error})") from error
                await asyncio.sleep(_pause(attempt))
                continue
            if response.status_code not in BUSY or last:
                return response
            await asyncio.sleep(_pause(attempt, response.headers.get("Retry-After")))
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str] | None = None, *, silence_s: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A streamed GET. The key goes along only to the orchestrator itself, never to a storage service."""
        target = urljoin(self.url, path)
        own = urlsplit(target)[:2] == urlsplit(self.url)[:2]
        send = {**(self._headers if own else {}), **(headers or {})}
        timeout = httpx.Timeout(self._timeout_s, read=silence_s or self._timeout_s)
        try:
            async with self._client.stream("GET", target, headers=send, timeout=timeout) as response:
                if response.status_code >= 400:
                    raise errors.from_answer(response.status_code, await response.aread())
                yield response
        except httpx.TransportError as error:
            raise errors.Unreachable(
                f"no answer from {self.url if own else target} ({type(error).__name__})"
            ) from error


def _pause(attempt: int, retry_after: str | None = None) -> float:
    """Seconds until the next try: what the server asks for, else 0.1 doubling, with jitter."""
    if retry_after and retry_after.isdigit():
        return min(float(retry_after), 10.0)
    return random.uniform(0.05, 0.1) * float(2**attempt)  # noqa: S311  jitter, not a secret


def _parameters(query: Mapping[str, object]) -> list[tuple[str, str | int | float | bool | None]]:
    """What stands in an address: nothing for None, once for each item of a list."""
    several = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    return [(name, str(one)) for name, values in several.items() for one in values if one is not None]
