"""Keeps input URLs given by users away from this machine's own network. It knows URLs, not files.

Which addresses are public is decided in `drivers/egress.py`, the same for the agent and the orchestrator.

The check stands where the connection is made: the resolver hands out only public addresses, and those very
addresses are connected to, so a name cannot point elsewhere a moment later. Addresses written in the URL do
not pass through a resolver and are checked with the URL, on every redirect.
"""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from drivers.egress import literal_address, why_refused


class Forbidden(OSError):
    """The URL leads somewhere that a user's URL may not lead."""


def is_public(text: str) -> bool:
    """Whether an address is on the public internet; addresses that wrap another are judged by that one."""
    return why_refused(text) is None


def check_url(url: URL, *, allow_private: bool) -> None:
    """Raise Forbidden unless the URL is http(s), without a login, and not a private address in plain sight."""
    if url.scheme not in ("http", "https") or not url.host:
        raise Forbidden(f"only http and https URLs are fetched, not {url.scheme or 'a relative one'}")
    if url.user is not None:
        raise Forbidden("a URL with a user name in it is not fetched")
    if allow_private:
        return
    address = literal_address(url.host)  # None for a name: the resolver decides
    if address is not None and not is_public(address):
        raise Forbidden(f"{url.host} is not a public address")


class PublicResolver(AbstractResolver):
    """Resolves names to their public addresses only; a name without one is Forbidden."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name that may be connected to."""
        found = await self._inner.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise Forbidden(f"{host} does not lead to a public address")
        return public

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()
