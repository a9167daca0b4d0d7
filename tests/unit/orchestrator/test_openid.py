"""The OpenID provider's side of a login: reached through the guard and over HTTPS; which tokens of it are believed."""

from __future__ import annotations

import base64
import hmac
import json
import math
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from orchestrator.config import Config
from orchestrator.credentials import derive
from orchestrator.errors import Unauthorized, Unavailable
from orchestrator.live.openid import Description, Provider
from orchestrator.live.sign_on import _Flows

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


ISSUER = "https://id.example.org"
DESCRIBED = Description(ISSUER, f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/keys")
RSA = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
SECRET = b"the client secret, which is long enough"


def _jwk(kind: Any, key: Any, kid: str) -> dict[str, Any]:
    return {**json.loads(kind.to_jwk(key)), "kid": kid, "use": "sig"}


def _provider() -> Provider:
    """One whose keys are known and are not fetched again."""
    provider = Provider(Config(oidc_issuer=ISSUER, oidc_client_id="us", oidc_client_secret=SECRET.decode()))
    keys = [
        _jwk(jwt.algorithms.RSAAlgorithm, RSA.public_key(), "rsa"),
        _jwk(jwt.algorithms.ECAlgorithm, CURVE.public_key(), "curve"),
        _jwk(jwt.algorithms.OKPAlgorithm, EDWARDS.public_key(), "edwards"),
        _jwk(jwt.algorithms.HMACAlgorithm, SECRET, "oct"),
    ]
    provider._keys = jwt.PyJWKSet.from_dict({"keys": keys}).keys
    provider._keys_until = provider._keys_again = math.inf
    return provider


def _claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    known = {"iss": ISSUER, "sub": "anna", "aud": "us", "iat": now, "exp": now + 60, "nonce": "n"}
    return {name: value for name, value in {**known, **changed}.items() if value is not None}


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (RSA, "PS512", "rsa"), (CURVE, "ES256", "curve"), (EDWARDS, "EdDSA", "edwards")],
)
async def test_a_token_under_a_key_of_the_providers_is_believed(key: Any, algorithm: str, kid: str) -> None:
    """RSA in both paddings, elliptic and Edwards curves."""
    token = jwt.encode(_claims(), key, algorithm, {"kid": kid})
    assert (await _provider()._verified(DESCRIBED, token, "n"))["sub"] == "anna"


def _signed_by_what_is_public(kid: str) -> str:
    """The known trick: the public key taken as the secret of an HMAC."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": kid}, _claims())]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(hmac.digest(pem, text, "sha256")).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "token",
    [
        jwt.encode(_claims(), None, "none", {"kid": "rsa"}),
        jwt.encode(_claims(), SECRET, "HS256", {"kid": "oct"}),
        jwt.encode(_claims(), SECRET, "HS256", {"kid": "rsa"}),
        _signed_by_what_is_public("rsa"),
        jwt.encode(_claims(), RSA, "RS256", {"kid": "curve"}),
        jwt.encode(_claims(), RSA, "RS256", {"kid": "another"}),
        jwt.encode(_claims(), RSA, "RS256"),
        jwt.encode(_claims(), rsa.generate_private_key(65537, 2048), "RS256", {"kid": "rsa"}),
        *(
            jwt.encode(_claims(**{name: None}), RSA, "RS256", {"kid": "rsa"})
            for name in ("exp", "iat", "aud", "sub", "nonce")
        ),
        jwt.encode(_claims(sub="x" * 300), RSA, "RS256", {"kid": "rsa"}),
        jwt.encode(_claims(nonce="other"), RSA, "RS256", {"kid": "rsa"}),
        jwt.encode(_claims(iss=ISSUER + "/"), RSA, "RS256", {"kid": "rsa"}),
        "a.b.c",
        "",
        "é",
    ],
    ids=range(19),
)
async def test_any_other_token_is_not(token: str) -> None:
    """Unsigned, under a secret, under another key than it names, without a claim that is needed, or none at all."""
    with pytest.raises(Unauthorized) as refused:
        await _provider()._verified(DESCRIBED, token, "n")
    assert refused.value.code == "sign_on_failed"
    assert not token or token not in refused.value.detail


def test_a_login_on_its_way_is_this_browsers_and_lives_for_minutes() -> None:
    """Its cookie opens under either master key, with its state only, and not once its time is over."""
    older, newer = _Flows(b"older"), _Flows(b"newer, older")
    cookie, begun = older.begin("/runs")
    assert newer.resume(cookie, begun.state) == begun
    assert begun.target == "/runs"
    assert len({begun.state, begun.nonce, begun.verifier}) == 3
    assert 43 <= len(begun.verifier) <= 128, "as RFC 7636 has it"
    late = {"aud": "sign-on", "state": begun.state, "to": "/", "exp": int(time.time()) - 1}
    forged = [
        (cookie, "another state"),
        (cookie, ""),
        (cookie + "x", begun.state),
        (jwt.encode(late, derive(b"older", "sign-on flows"), "HS256"), begun.state),
        (jwt.encode({**late, "exp": 2**33}, derive(b"older", "tokens"), "HS256"), begun.state),
        (jwt.encode({**late, "exp": 2**33, "aud": "session"}, derive(b"older", "sign-on flows"), "HS256"), begun.state),
        (jwt.encode({**late, "exp": 2**33}, None, "none"), begun.state),
        ("", begun.state),
    ]
    for held, state in forged:
        with pytest.raises(Unauthorized):
            older.resume(held, state)
    with pytest.raises(Unauthorized):
        _Flows(b"newer").resume(cookie, begun.state)
