"""What is added to every answer, and what is left as the answer has it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.headers import completing, cors, rate_limit
from orchestrator.config import Config
from orchestrator.limits import Standing

pytestmark = pytest.mark.anyio


async def _headers(config: Config, *own: tuple[bytes, bytes], **state: Any) -> dict[bytes, bytes]:
    message: Any = {"type": "http.response.start", "status": 200, "headers": list(own)}
    scope: Any = {"type": "http", "method": "GET", "headers": [], "state": state}
    await completing(config)(message, scope)
    assert len(message["headers"]) == len(dict(message["headers"]))
    return dict(message["headers"])


@pytest.mark.parametrize(("url", "told"), [("https://fleet.example.org", True), ("http://fleet.example.org", False)])
async def test_https_is_insisted_on_where_it_is_used(url: str, told: bool) -> None:
    """Strict-Transport-Security stands when clients reach us by https, and only then."""
    assert (b"strict-transport-security" in await _headers(Config(public_url=url))) == told


async def test_an_answers_own_policy_stays() -> None:
    """The dashboard's pages and stored files say themselves what may run."""
    own = (b"content-security-policy", b"default-src 'self'")
    headers = await _headers(Config(), own)
    assert headers[b"content-security-policy"] == b"default-src 'self'"
    assert headers[b"x-content-type-options"] == b"nosniff"


async def test_a_counted_request_says_what_is_left() -> None:
    """Two headers as structured fields; none where nothing was counted."""
    headers = await _headers(Config(), rate_limit=("q=100;w=10", Standing(0.0, 42, 5.8)))
    assert headers[b"ratelimit-policy"] == b'"requests";q=100;w=10'
    assert headers[b"ratelimit"] == b'"requests";r=42;t=6'
    assert b"ratelimit" not in await _headers(Config())
    assert rate_limit("q=1;w=1", Standing(9.0, 0, 0.0))[1] == (b"ratelimit", b'"requests";r=0;t=0')


async def test_no_origin_is_admitted_unless_named() -> None:
    """Off by default; names are trimmed; never with cookies."""
    assert cors(Config()) is None
    assert cors(Config(cors_origins=" , ")) is None
    named = cors(Config(cors_origins="https://a.example, https://b.example/ "))
    assert named is not None
    assert named.allow_origins == ["https://a.example", "https://b.example"]
    assert not named.allow_credentials
