"""API keys, tokens and derived keys."""

from __future__ import annotations

import time

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.credentials import BadToken, Claims, Signer, base62, derive, hint_of, looks_like_api_key, new_api_key


def _claims(life_s: float = 60) -> Claims:
    return Claims("session", "user", "organisation", float(int(time.time() + life_s)))


def test_a_new_key_has_its_form_and_is_never_the_same() -> None:
    """cf_, 36 characters; all different; the hint shows four of them."""
    keys = {new_api_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(looks_like_api_key(key) and len(key) == 39 for key in keys)
    key = keys.pop()
    assert hint_of(key) == f"cf_…{key[-4:]}"


@given(st.text(max_size=60), st.integers(0, 38))
def test_any_change_to_a_key_is_noticed_without_a_look_up(text: str, place: int) -> None:
    """Noise is no key, and a key with one character exchanged is none either."""
    key = new_api_key()
    other = "A" if key[place] != "A" else "B"
    assert not looks_like_api_key(key[:place] + other + key[place + 1 :])
    assert not looks_like_api_key(text) or text.startswith("cf_")


def test_base62_fills_up_with_zeros() -> None:
    """Fixed length, most significant first."""
    assert base62(0, 6) == "000000"
    assert base62(62, 3) == "010"
    assert len(base62(2**32 - 1, 6)) == 6


def test_derived_keys_differ_by_purpose_and_secret() -> None:
    """A signature for one purpose proves nothing about another."""
    keys = {derive(secret, purpose) for secret in (b"a", b"b") for purpose in ("tokens", "file urls", "webhooks")}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}


def test_a_token_says_what_was_signed() -> None:
    """Sign, verify, the same claims."""
    signer, claims = Signer(b"secret"), _claims()
    assert signer.verify("access", signer.sign("access", claims)) == claims


def test_a_token_is_good_for_its_purpose_time_and_secret_only() -> None:
    """Another audience, another secret, an ended life or another algorithm is a BadToken."""
    signer = Signer(b"secret")
    good = signer.sign("access", _claims())
    kid = jwt.get_unverified_header(good)["kid"]
    bad = [
        ("session", good),
        ("access", Signer(b"other").sign("access", _claims())),
        ("access", signer.sign("access", _claims(-5))),
        ("access", jwt.encode({"aud": "access"}, "", algorithm="none", headers={"kid": kid})),
        ("access", jwt.encode({"aud": "access", "exp": 1}, derive(b"secret", "tokens"), headers={"kid": kid})),
        ("access", "a.b.c"),
        ("access", ""),
    ]
    for audience, token in bad:
        with pytest.raises(BadToken):
            signer.verify(audience, token)  # type: ignore[arg-type]


def test_secrets_can_be_rotated() -> None:
    """With `new,old` tokens of the old secret are still good, and new ones are signed by the new."""
    old, both, new = Signer(b"old"), Signer(b"new,old"), Signer(b"new")
    assert both.verify("access", old.sign("access", _claims()))
    assert new.verify("access", both.sign("access", _claims()))


def test_keys_in_the_form_of_tokens() -> None:
    """They carry the claims that ComfyDeploy's clients read, are no access tokens, and rotate with the secret."""
    old, new = Signer(b"one"), Signer(b"two,one")
    key = old.sign_key("u", "o")
    claims = jwt.decode(key, options={"verify_signature": False})
    assert (claims["user_id"], claims["org_id"], "exp" in claims) == ("u", "o", False)
    assert old.is_key(key)
    assert new.is_key(key)
    assert not Signer(b"two").is_key(key)
    assert not old.is_key(old.sign_key("u", "o", 1.0))
    assert not old.is_key(old.sign("access", Claims("s", "u", "o", time.time() + 60)))
    assert not old.is_key("a.b.c")
    with pytest.raises(BadToken):
        old.verify("access", key)
