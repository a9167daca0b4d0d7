"""Roles, the rate limit of logins, and what a cookie may do."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.auth import Passwords, Principal, RateLimit, _credentials, _is_cross_site, cookie_is_secure
from orchestrator.config import Config


def test_roles_are_ranked() -> None:
    """owner > admin > developer > viewer > playground."""
    order: list[Any] = ["playground", "viewer", "developer", "admin", "owner"]
    for place, role in enumerate(order):
        principal = Principal("o", role, "u")
        assert [principal.may(other) for other in order] == [other <= place for other in range(5)]


def test_the_bucket_lets_a_burst_through_and_then_one_at_a_time() -> None:
    """Three at once, then one each 10 seconds; what was refused costs nothing."""
    limit = RateLimit(burst=3, every_s=10)
    assert [limit.take("a", 0) for _ in range(3)] == [0, 0, 0]
    assert limit.take("a", 0) == 10
    assert limit.take("a", 4) == 6
    assert limit.take("b", 4) == 0
    assert limit.take("a", 10) == 0
    assert limit.take("a", 10) == 10
    limit.forget("a")
    assert limit.take("a", 10) == 0


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
    assert _is_cross_site(scope) is cross


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
