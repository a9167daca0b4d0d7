"""Keeps input URLs given by users away from this machine's own network. It knows addresses, not files.

The check stands where the connection is made: the resolver hands out only public addresses, and those very
addresses are connected to, so a name cannot point elsewhere a moment later. Addresses written in the URL do
not pass through a resolver and are checked with the URL, on every redirect.
"""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(OSError):
    """The URL leads somewhere that a user's URL may not lead."""


def is_public(text: str) -> bool:
    """Whether an address is on the public internet; addresses that wrap another are judged by that one."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    return address.is_global and not address.is_multicast and not address.is_reserved


def check_url(url: URL, *, allow_private: bool) -> None:
    """Raise Forbidden unless the URL is http(s), without a login, and not a private address in plain sight."""
    if url.scheme not in ("http", "https") or not url.host:
        raise Forbidden(f"only http and https URLs are fetched, not {url.scheme or 'a relative one'}")
    if url.user is not None:
        raise Forbidden("a URL with a user name in it is not fetched")
    if allow_private:
        return
    try:
        public = is_public(url.host)
    except ValueError:
        return  # a name: the resolver decides
    if not public:
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


def _unwrapped(address: _Address) -> _Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
