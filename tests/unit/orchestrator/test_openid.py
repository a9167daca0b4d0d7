"""The OpenID provider's side of a login is reached through the guard, and over HTTPS."""

from __future__ import annotations

import pytest

from orchestrator.config import Config
from orchestrator.errors import Unavailable
from orchestrator.live.openid import Provider

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "issuer",
    [
        "http://id.example.org",
        "https://127.0.0.1",
        "https://[::1]",
        "https://169.254.169.254",
        "https://localhost",
        "https://2130706433",
        "file:///etc/passwd",
        "no address",
    ],
)
async def test_a_provider_inside_our_network_is_not_asked(issuer: str) -> None:
    """Unless the settings say so; nothing of the address is told to whoever wanted to log in."""
    with pytest.raises(Unavailable) as refused:
        await Provider(Config(oidc_issuer=issuer, oidc_client_id="us")).described()
    assert refused.value.code == "sign_on_unavailable"
    assert issuer not in refused.value.detail
