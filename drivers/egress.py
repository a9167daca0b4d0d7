"""The guard on requests to addresses that a user chose: webhooks and input URLs stay off our own network.

It knows addresses and connections, not what is sent. A name is resolved once, every address it leads to is judged, and
the connection goes to those very addresses; the socket itself is judged again, so an address written in a URL or a
redirect, which passes through no resolver, is stopped as well.

    Exception
    ├── Refused       the guard does not let this URL or address be reached
    └── Undelivered   nothing usable came back: no connection, no answer in time, the connection broke
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from msgspec import Struct
from yarl import URL

Address = IPv4Address | IPv6Address
MAX_URL: Final = 2000
ANSWER_LIMIT: Final = 4096
MOST_REDIRECTS: Final = 5
CHUNK: Final = 256 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)

# Before any range: addresses where clouds hand out credentials, two of which lie in ranges that are otherwise allowed.
_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # container credentials
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",  # a public address that is the host's own
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
# The first range that holds an address names the reason; a LAN address may be allowed by configuration.
_LAN: Final = tuple(
    (ip_network(text), reason)
    for text, reason in (
        ("127.0.0.0/8", "a loopback address"),
        ("::1/128", "a loopback address"),
        ("10.0.0.0/8", "a private address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("100.64.0.0/10", "a shared (carrier NAT) address"),
        ("fc00::/7", "a private address"),
    )
)
_NEVER: Final = tuple(
    (ip_network(text), reason)
    for text, reason in (
        ("0.0.0.0/8", "an unspecified address"),
        ("::/128", "an unspecified address"),
        ("169.254.0.0/16", "a link-local address"),
        ("fe80::/10", "a link-local address"),
        ("224.0.0.0/4", "a multicast address"),
        ("ff00::/8", "a multicast address"),
        ("fec0::/10", "a site-local address"),
        ("192.88.99.0/24", "a relay address"),
        ("64:ff9b:1::/48", "a local translation address"),
        ("2001::/32", "a tunnel address"),
    )
)
_IPV4_IN_LAST_BITS: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("::/96"))
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "host.docker.internal")
_METADATA_NAMES: Final = ("metadata.google.internal", "metadata.goog", "instance-data.ec2.internal")


class Refused(Exception):
    """The guard does not let this URL or address be reached; the text is for people."""


class Undelivered(Exception):
    """Nothing usable came back: no connection, no answer in time, or the connection broke."""


class Answer(Struct, frozen=True):
    """What the other side answered: its status, the start of its text, its Retry-After, and how long it took."""

    code: int
    text: str
    retry_after: str | None
    duration_ms: int


class Download(Struct, frozen=True):
    """A file on its way: the last part of its URL, its type and length as the other side says, and its bytes."""

    name: str
    content_type: str
    length: int | None
    chunks: AsyncIterator[bytes]


_6TO4 = ip_network("2002::/16")


def why_refused(address: str, *, allow_private: bool = False) -> str | None:
    """Why an IP address may not be reached, or None when it may.

    allow_private lets loopback, LAN and carrier NAT addresses pass; cloud metadata, link-local, multicast, unspecified
    and reserved ones never do. An IPv6 address that carries an IPv4 one is judged by that one. Raises ValueError
    when the text is no address.
    """
    whole = ip_address(address.partition("%")[0])
    inner = _inside(whole)
    if inner is None:
        return _judge(whole, allow_private=allow_private)
    reason = _judge(inner, allow_private=allow_private)
    if reason is not None:
        return f"{reason} ({inner})"
    return "a 6to4 address, which is not routed any more" if whole in _6TO4 else None


def _judge(address: Address, *, allow_private: bool) -> str | None:
    if address in _METADATA:
        return "a cloud metadata address"
    for network, reason in _NEVER:
        if address in network:
            return reason
    for network, reason in _LAN:
        if address in network:
            return None if allow_private else reason
    if address.is_reserved or address.is_multicast or not address.is_global:
        return "a reserved address"
    return None


def _inside(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, compatible, 6to4, NAT64, ISATAP."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if number <= 1:
        return None  # :: and ::1 are themselves
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and any(address in network for network in _IPV4_IN_LAST_BITS):
        inner = IPv4Address(number & 0xFFFFFFFF)
    if inner is None and (number >> 32) & 0xFFFFFFFF in _ISATAP:
        inner = IPv4Address(number & 0xFFFFFFFF)
    return inner


def literal_address(host: str) -> str | None:
    """The address that a host text stands for without any look-up, as the system's resolver reads it, or None.

    Decimal, hexadecimal, octal and shortened IPv4 forms ("2130706433", "0x7f.1", "127.1") are addresses too.
    """
    host = host.rstrip(".")
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise Refused unless this is an http(s) URL that may be reached as far as its text tells; looks nothing up."""
    parsed = _parsed(url)
    if parsed.scheme not in ("http", "https"):
        raise Refused("only http and https URLs are reached")
    if parsed.user is not None or parsed.password is not None:
        raise Refused("a URL must not carry a user name or password")
    host = _host_of(parsed)
    if not host:
        raise Refused("the URL names no host")
    port = parsed.port
    if not port or (not allow_private and port < 1024 and port not in (80, 443)):
        raise Refused(f"port {port} is not one that is reached")
    _check_host(host, allow_private=allow_private)


def _parsed(url: str) -> URL:
    if len(url) > MAX_URL:
        raise Refused(f"the URL is longer than {MAX_URL} characters")
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        raise Refused("the URL contains a space, a control character or a backslash")
    try:
        return URL(url)
    except (ValueError, TypeError) as error:
        raise Refused(f"this is not a URL: {error}") from error


def _host_of(parsed: URL) -> str:
    try:
        return (parsed.host or "").rstrip(".").lower()
    except ValueError as error:  # an international name that is none
        raise Refused("the URL's host is not a name") from error


def _check_host(host: str, *, allow_private: bool) -> None:
    address = literal_address(host)
    if address is not None:
        reason = why_refused(address, allow_private=allow_private)
        if reason is not None:
            raise Refused(f"{host} is {reason}")
        return
    if host in _METADATA_NAMES:
        raise Refused(f"{host} is a cloud metadata service")
    if not allow_private and (host in _LOCAL_NAMES or host.endswith(".localhost")):
        raise Refused(f"{host} is this machine itself")


class GuardedResolver(AbstractResolver):
    """Resolves a name once and refuses it when any of its addresses may not be reached.

    The addresses returned are the ones connected to, so a name that changes its mind a moment later gains nothing.
    """

    def __init__(self, *, allow_private: bool, inner: AbstractResolver | None = None) -> None:
        self._allow_private = allow_private
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of the host. Raises Refused, or OSError when there is none."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            reason = why_refused(result["host"], allow_private=self._allow_private)
            if reason is not None:
                raise Refused(f"{host} leads to {result['host']}, {reason}")
        return found

    async def close(self) -> None:
        """Release the resolver underneath."""
        await self._inner.close()


def guarded_session(
    allow_private: bool,
    timeout_s: float,
    *,
    resolver: AbstractResolver | None = None,
    connections: int = 100,
) -> aiohttp.ClientSession:
    """A session that reaches only what the guard allows: no proxy from the environment, no cookies.

    timeout_s bounds a whole request. A refused address raises Refused from the request. Close it after use.
    """

    def guarded_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        reason = why_refused(str(address[0]), allow_private=allow_private)
        if reason is not None:
            raise Refused(f"{address[0]} is {reason}")
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(allow_private=allow_private, inner=resolver),
        use_dns_cache=False,
        limit=connections,
        socket_factory=guarded_socket,
        happy_eyeballs_delay=None,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(10.0, timeout_s)),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    allow_private: bool,
    limit: int = ANSWER_LIMIT,
) -> Answer:
    """POST body to url through a guarded session, following no redirect; reads at most `limit` of the answer.

    A status that arrived is an answer even when its text is cut off. Raises Refused or Undelivered.
    """
    return await _asked(session, "POST", url, body, headers, allow_private=allow_private, limit=limit)


async def ask(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str], *, allow_private: bool, limit: int
) -> Answer:
    """GET a short text through a guarded session, as `post` does: what the headers carry goes to no other address."""
    return await _asked(session, "GET", url, None, headers, allow_private=allow_private, limit=limit)


async def _asked(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: bytes | None,
    headers: dict[str, str],
    *,
    allow_private: bool,
    limit: int,
) -> Answer:
    check_url(url, allow_private=allow_private)
    started = time.monotonic()
    try:
        async with session.request(
            method, url, data=body, headers=headers, allow_redirects=False, auto_decompress=False
        ) as response:
            text = await _beginning(response, limit)
            duration_ms = int((time.monotonic() - started) * 1000)
            return Answer(response.status, text, response.headers.get("Retry-After"), duration_ms)
    except TimeoutError as error:
        raise Undelivered("no answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Undelivered(f"{type(error).__name__}: {error}"[:500]) from error


@asynccontextmanager
async def get(session: aiohttp.ClientSession, url: str, *, allow_private: bool) -> AsyncIterator[Download]:
    """GET a URL through a guarded session; redirects are followed by hand, each judged like the first.

    Raises Refused or Undelivered, also while the bytes are read.
    """
    check_url(url, allow_private=allow_private)
    try:
        for _ in range(MOST_REDIRECTS + 1):
            async with session.get(
                url, allow_redirects=False, auto_decompress=False, headers={"Accept-Encoding": "identity"}
            ) as response:
                target = response.headers.get("Location") if response.status in _REDIRECTS else None
                if target is None:
                    yield _download(response)
                    return
            url = str(URL(url).join(URL(target)))
            check_url(url, allow_private=allow_private)
    except TimeoutError as error:
        raise Undelivered("it took too long") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Undelivered(f"{type(error).__name__}: {error}"[:500]) from error
    raise Undelivered(f"it redirects more than {MOST_REDIRECTS} times")


def _download(response: aiohttp.ClientResponse) -> Download:
    if response.status != 200:
        raise Undelivered(f"it answered {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Undelivered("it sent the bytes encoded, although they were asked for as they are")
    name = URL(str(response.url)).name
    return Download(name, response.content_type, response.content_length, response.content.iter_chunked(CHUNK))


def complaint(answer: Answer) -> str | None:
    """What to note about an answer that is not a success, in one printable line; None for a 2xx."""
    if 200 <= answer.code < 300:
        return None
    said = "".join(character if character.isprintable() else " " for character in answer.text).strip()
    if 300 <= answer.code < 400:
        return "redirects are not followed"
    return f"answered {answer.code}: {said[:200]}" if said else f"answered {answer.code}"


async def _beginning(response: aiohttp.ClientResponse, limit: int) -> str:
    """The first `limit` bytes that could be read; what is left closes the connection."""
    read = bytearray()
    try:
        while len(read) < limit:
            chunk = await response.content.read(limit - len(read))
            if not chunk:
                break
            read += chunk
    except (aiohttp.ClientError, OSError):  # the status came, and it decides; a time-out is an OSError too
        response.close()
    if not response.content.at_eof():
        response.close()
    return read.decode("utf-8", "replace")
