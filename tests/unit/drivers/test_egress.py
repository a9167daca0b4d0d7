"""The egress guard: which addresses and URLs are refused, and that a connection goes to what was judged."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from drivers.egress import (
    ANSWER_LIMIT,
    GuardedResolver,
    Refused,
    Undelivered,
    check_url,
    complaint,
    guarded_session,
    literal_address,
    post,
    why_refused,
)

REFUSED = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "10.1.2.3": "private",
    "172.31.0.1": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier NAT",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "169.254.169.254": "metadata",
    "169.254.1.1": "link-local",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "198.18.0.1": "reserved",
    "192.0.2.1": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "fd00:ec2::254": "metadata",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "2001:db8::1": "reserved",
    "100::1": "reserved",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "tunnel",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "metadata",
    "::127.0.0.1": "loopback",
    "::ffff:0:10.0.0.1": "private",
    "2002:7f00:1::1": "loopback",
    "2002:a9fe:a9fe::": "metadata",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b:1::1": "translation",
    "2a00::5efe:10.0.0.1": "private",
}


@pytest.mark.parametrize(("address", "word"), REFUSED.items())
def test_addresses_that_are_not_public_are_refused_with_a_reason(address: str, word: str) -> None:
    """Every kind of address that is not the public internet is refused, and the reason names its kind."""
    reason = why_refused(address)
    assert reason is not None
    assert word in reason


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "100.128.0.1"],
)
def test_public_addresses_pass(address: str) -> None:
    """The public internet is reached, also where IPv6 carries a public IPv4 address."""
    assert why_refused(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.1.1", "::1", "fd12::1", "100.64.0.1", "::ffff:10.0.0.1"])
def test_a_lan_may_be_allowed(address: str) -> None:
    """allow_private opens loopback and LAN addresses."""
    assert why_refused(address, allow_private=True) is None


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "224.0.0.1", "0.0.0.0", "fe80::1"])
def test_some_addresses_stay_closed_even_on_a_lan(address: str) -> None:
    """allow_private never opens cloud metadata, link-local, multicast or unspecified addresses."""
    assert why_refused(address, allow_private=True) is not None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_wrapping(address: IPv4Address) -> None:
    """Mapping an IPv4 address into IPv6 changes nothing about whether it may be reached."""
    plain = why_refused(str(address)) is None
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    translated = IPv6Address(bytes.fromhex("0064ff9b") + b"\0" * 8 + address.packed)
    assert (why_refused(str(mapped)) is None) == plain
    assert (why_refused(str(translated)) is None) == plain


@given(st.ip_addresses())
def test_nothing_passes_that_python_calls_not_global(address: IPv4Address | IPv6Address) -> None:
    """The guard is at least as strict as the standard library's own registry of special addresses."""
    wrapped = isinstance(address, IPv6Address) and int(address) >> 32 == 0
    if why_refused(str(address)) is None and not wrapped:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("::1", "::1"),
        ("example.com", None),
        ("deadbeef.example", None),
    ],
)
def test_a_host_text_is_read_as_the_resolver_reads_it(host: str, address: str | None) -> None:
    """Decimal, hexadecimal, octal and short forms are the addresses that the system takes them for."""
    assert literal_address(host) == address


@given(st.ip_addresses(v=4))
def test_every_number_form_of_an_address_is_recognised(address: IPv4Address) -> None:
    """Whatever base a number is written in, it is the same address."""
    number = int(address)
    assert {literal_address(text) for text in (str(number), hex(number), f"0{number:o}")} == {str(address)}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[fe80::1%25eth0]/",
        "http://①②⑦.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://x.localhost/",
        "http://metadata.google.internal/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/x",
        "example.com",
        "http://",
        "http:///path",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://example.com:0/",
        "http://example.com:22/",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: x",
        "http://exam\nple.com/",
        "http://example.com\\@127.0.0.1/",
        "http://[::1/",
        "http://example.com/" + "a" * 2000,
    ],
)
def test_urls_that_must_not_be_reached_are_refused(url: str) -> None:
    """A wrong scheme, a login, an odd port, hidden characters and every written form of an inner address."""
    with pytest.raises(Refused):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?x=1",
        "http://example.com",
        "https://example.com:8443/",
        "http://8.8.8.8/",
        "https://ü.de/",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    """Public http and https URLs are let through."""
    check_url(url, allow_private=False)


class Scripted(AbstractResolver):
    """A name server that gives the next answer every time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The next answer, the last one for ever."""
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=text, port=port, family=_family(text), proto=0, flags=0)
            for text in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _family(address: str) -> int:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


class Target:
    """A server on this machine that counts who reaches it."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.url = ""
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """By path: a redirect, a large body, silence, a cut-off body, or 204."""
        self.reached.append(request.path)
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": f"{self.url}/secret"})
        if request.path == "/large":
            return web.Response(body=b"x" * 1_000_000)
        if request.path == "/silent":
            await asyncio.Event().wait()
        if request.path in ("/close", "/cut"):
            return await self._break_off(request)
        return web.Response(status=204)

    async def _break_off(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        if request.path == "/cut":
            await response.prepare(request)
            await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """A Target that listens."""
    it = Target()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", it.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.port = runner.addresses[0][1]
    it.url = f"http://127.0.0.1:{it.port}"
    try:
        yield it
    finally:
        await runner.cleanup()


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:10.0.0.1"], ["169.254.169.254"]])
async def test_a_name_with_an_inner_address_is_refused(answer: list[str]) -> None:
    """One address that may not be reached refuses the whole name."""
    with pytest.raises(Refused, match="leads to"):
        await GuardedResolver(allow_private=False, inner=Scripted(answer)).resolve("tricky.example", 80)


@pytest.mark.anyio
async def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """A name that was public when it was looked at, and is inner when it is used, is refused; nothing is reached."""
    async with target() as inside:
        names = Scripted(["8.8.8.8"], ["127.0.0.1"])
        looked_at = await GuardedResolver(allow_private=False, inner=names).resolve("rebind.example", inside.port)
        assert [result["host"] for result in looked_at] == ["8.8.8.8"]
        async with guarded_session(False, 5, resolver=names) as session:
            with pytest.raises(Refused, match="loopback"):
                await post(session, f"http://rebind.example:{inside.port}/", b"{}", {}, allow_private=False)
        assert inside.reached == []


@pytest.mark.anyio
async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    """A name is resolved exactly once for a request, and the connection is made to that very answer."""
    async with target() as inside:
        names = Scripted(["127.0.0.1"], ["169.254.169.254"])
        async with guarded_session(True, 5, resolver=names) as session:
            answer = await post(session, f"http://lan.example:{inside.port}/", b"{}", {}, allow_private=True)
        assert (answer.code, names.asked, inside.reached) == (204, 1, ["/"])


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_an_address_in_the_url_is_judged_at_the_socket(host: str) -> None:
    """An address written in the URL passes no resolver; the socket refuses it even without check_url."""
    async with target() as inside, guarded_session(False, 5) as session:
        with pytest.raises(Refused):
            await session.post(f"http://{host}:{inside.port}/")
        assert inside.reached == []


@pytest.mark.anyio
async def test_redirects_of_a_message_are_not_followed() -> None:
    """A 302 is the answer; where it points is not visited."""
    async with target() as inside, guarded_session(True, 5) as session:
        answer = await post(session, f"{inside.url}/redirect", b"{}", {}, allow_private=True)
        assert answer.code == 302
        assert complaint(answer) == "redirects are not followed"
        assert inside.reached == ["/redirect"]


@pytest.mark.anyio
async def test_a_redirect_that_is_followed_is_judged_again() -> None:
    """Where a caller follows redirects (fetching), one that points inside is stopped at the socket."""
    async with target() as inside:
        metadata = web.Application()

        async def away(_request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest"})

        metadata.router.add_get("/", away)
        runner = web.AppRunner(metadata, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        try:
            async with guarded_session(True, 5) as session:
                with pytest.raises(Refused, match="metadata"):
                    await session.get(f"http://127.0.0.1:{port}/")
        finally:
            await runner.cleanup()
        assert inside.reached == []


@pytest.mark.anyio
async def test_little_of_a_large_answer_is_read() -> None:
    """Of a megabyte, ANSWER_LIMIT bytes are taken."""
    async with target() as inside, guarded_session(True, 5) as session:
        answer = await post(session, f"{inside.url}/large", b"{}", {}, allow_private=True)
        assert (answer.code, len(answer.text)) == (200, ANSWER_LIMIT)


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "text"), [("/silent", "no answer in time"), ("/close", "Disconnected")])
async def test_silence_and_a_closed_connection_are_undelivered(path: str, text: str) -> None:
    """A receiver that never answers, or closes before its status, has not taken the message."""
    async with target() as inside, guarded_session(True, 0.3) as session:
        with pytest.raises(Undelivered, match=text):
            await post(session, f"{inside.url}{path}", b"{}", {}, allow_private=True)


@pytest.mark.anyio
async def test_a_status_that_arrived_counts_though_its_text_is_cut_off() -> None:
    """The status line decides; a body that breaks off is only a shorter text."""
    async with target() as inside, guarded_session(True, 5) as session:
        answer = await post(session, f"{inside.url}/cut", b"{}", {}, allow_private=True)
        assert (answer.code, answer.text) == (200, "half")


@pytest.mark.anyio
async def test_no_proxy_from_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY would take the connection elsewhere: it is ignored."""
    async with target() as inside:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        async with guarded_session(True, 5) as session:
            answer = await post(session, f"{inside.url}/", b"{}", {}, allow_private=True)
        assert answer.code == 204
