"""Which addresses a user's input URL may reach."""

from __future__ import annotations

import socket

import pytest
from yarl import URL

from machine_agent.guard import Forbidden, PublicResolver, check_url, is_public

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "2002:7f00:1::",
    "64:ff9b::7f00:1", "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address: str) -> None:
    """Loopback, private, link-local, shared, multicast and wrapped addresses are not public."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    """Ordinary internet addresses are public."""
    assert is_public(address)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "/x", "http://[::1]/x", "http://u:p@example.com/"])
def test_refused_urls(url: str) -> None:
    """Other schemes, relative URLs, private literals and logins are refused before any connection."""
    with pytest.raises(Forbidden):
        check_url(URL(url), allow_private=False)


def test_names_pass_the_url_check() -> None:
    """A name is left to the resolver, and a private literal is let through when that is allowed."""
    check_url(URL("https://example.com/x"), allow_private=False)
    check_url(URL("http://10.0.0.1/x"), allow_private=True)


@pytest.mark.anyio
async def test_resolver_hands_out_public_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with both kinds of address only the public one can be connected to; a private one alone is refused."""
    answers = {"mixed.test": ["10.0.0.1", "8.8.8.8"], "inside.test": ["192.168.0.1"]}

    def getaddrinfo(host: str, *_: object, **__: object) -> list:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = PublicResolver()
    assert [result["host"] for result in await resolver.resolve("mixed.test", 80)] == ["8.8.8.8"]
    with pytest.raises(Forbidden):
        await resolver.resolve("inside.test", 80)
    await resolver.close()


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
async def test_odd_spellings_of_loopback(host: str) -> None:
    """Loopback in its old spellings is resolved, seen for what it is, and refused."""
    with pytest.raises(Forbidden):
        await PublicResolver().resolve(host, 80)
