"""Roles, and what a cookie may do."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from orchestrator.auth import (
    Passwords,
    Principal,
    _credentials,
    _note_trace,
    address_of,
    cookie_is_secure,
    is_cross_site,
)
from orchestrator.config import Config


def test_roles_are_ranked() -> None:
    """owner > admin > developer > viewer > playground."""
    order: list[Any] = ["playground", "viewer", "developer", "admin", "owner"]
    for place, role in enumerate(order):
        principal = Principal("o", role, "u")
        assert [principal.may(other) for other in order] == [other <= place for other in range(5)]


@pytest.mark.anyio
async def test_passwords_fit_or_not() -> None:
    """The right one fits; a wrong one, a broken hash and an unknown user do not."""
    passwords = Passwords()
    stored = await passwords.hash("correct horse")
    assert await passwords.fits("correct horse", stored)
    assert not await passwords.fits("battery staple", stored)
    assert not await passwords.fits("correct horse", "not a hash")
    assert not await passwords.fits("nobody has this password", None)


def _scope(*headers: tuple[str, str], method: str = "POST", kind: str = "http") -> Any:
    return {"type": kind, "method": method, "headers": [(name.encode(), value.encode()) for name, value in headers]}


def test_credentials_are_read_from_either_header() -> None:
    """Bearer in any case; a cookie among others; another scheme is no bearer but shuts the cookie out."""
    assert _credentials(_scope(("authorization", "bearer  abc"))) == ("abc", None)
    assert _credentials(_scope(("cookie", "a=b; cf_session=xyz; c=d"))) == (None, "xyz")
    assert _credentials(_scope(("authorization", "Basic abc"), ("cookie", "cf_session=xyz"))) == ("", "xyz")
    assert _credentials(_scope(("cookie", "cf_session_other=1"))) == (None, None)


@pytest.mark.parametrize(
    ("scope", "cross"),
    [
        (_scope(("sec-fetch-site", "cross-site")), True),
        (_scope(("sec-fetch-site", "same-site")), True),
        (_scope(("sec-fetch-site", "same-origin")), False),
        (_scope(("origin", "https://evil.example"), ("host", "fleet.example")), True),
        (_scope(("origin", "https://fleet.example"), ("host", "fleet.example")), False),
        (_scope(("origin", "null"), ("host", "fleet.example")), True),
        (_scope(), False),
        (_scope(("sec-fetch-site", "cross-site"), method="GET"), False),
        ({**_scope(("origin", "https://evil.example"), ("host", "x")), "type": "websocket"}, True),
    ],
)
def test_a_page_of_another_site_may_not_act_with_the_cookie(scope: Any, cross: bool) -> None:
    """Changes and sockets are refused; reading is left to SameSite."""
    assert is_cross_site(scope) is cross


@pytest.mark.parametrize(
    ("settings", "secure"),
    [
        (Config(), False),
        (Config(public_url="https://fleet.example"), True),
        (Config(public_url="http://fleet.example"), True),
        (Config(public_url="http://fleet.example", insecure_cookies=True), False),
        (Config(public_url="http://localhost:8420"), False),
    ],
)
def test_the_cookie_is_secure_except_on_this_machine(settings: Config, secure: bool) -> None:
    """Only a loopback address, or the setting, does without Secure."""
    assert cookie_is_secure(settings) is secure


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        (
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-holds",
            "0af7651916cd43dd8448eb211c80319c",
        ),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        ("nonsense", None),
    ],
)
def test_a_sane_trace_id_goes_into_the_log(header: str, trace_id: str | None) -> None:
    """As W3C Trace Context says: all zeros, capitals and version ff are invalid, later versions are not."""
    with structlog.contextvars.bound_contextvars():
        structlog.contextvars.clear_contextvars()
        _note_trace(_scope(("traceparent", header)))
        assert structlog.contextvars.get_contextvars().get("trace_id") == trace_id


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("2001:db8:1:2:ffff::9", 1), "2001:db8:1:2::"),
        (("fe80::1%eth0", 1), "fe80::"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("not:an:address", 1), "not:an:address"),
        (None, ""),
    ],
)
def test_a_network_of_ipv6_is_one_address(client: Any, address: str) -> None:
    """So that a limit of an address is not passed by counting up its lower half."""
    assert address_of({"client": client}) == address  # type: ignore[arg-type,typeddict-item]
