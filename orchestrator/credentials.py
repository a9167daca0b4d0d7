"""The forms of our credentials: keys derived from the master secret, signed tokens, API keys. Pure; it knows no user.

Every purpose has a key of its own, so that a signature made for one thing proves nothing about another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import zlib
from typing import Any, Final, Literal

import jwt
from msgspec import Struct

ISSUER: Final = "comfyfleet"
KEY_PREFIX: Final = "cf_"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_LENGTH: Final = 30
_SUM_LENGTH: Final = 6

Audience = Literal["access", "session"]


class BadToken(Exception):
    """A token that is not ours, was changed, is for another purpose or has expired."""


class Claims(Struct, frozen=True):
    """What a verified token says: the login (session) it belongs to and when it ends (Unix seconds)."""

    session_id: str
    user_id: str
    organisation_id: str
    expires_at: float


def derive(secret: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose (HKDF-SHA256, RFC 5869, one block)."""
    pseudo_random = hmac.digest(b"comfyfleet", secret, "sha256")
    return hmac.digest(pseudo_random, purpose.encode() + b"\x01", "sha256")


def base62(number: int, length: int) -> str:
    """A number in base 62 with leading zeros."""
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


def new_api_key() -> str:
    """`cf_`, 30 random characters (178 bits), and a checksum that lets a typing error be refused without a look-up."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH))
    return KEY_PREFIX + body + _checksum(body)


def looks_like_api_key(key: str) -> bool:
    """Whether the form and the checksum are right."""
    body = key.removeprefix(KEY_PREFIX)
    if not key.startswith(KEY_PREFIX) or len(body) != _KEY_LENGTH + _SUM_LENGTH or not key.isascii():
        return False
    return _checksum(body[:_KEY_LENGTH]) == body[_KEY_LENGTH:]


def hint_of(key: str) -> str:
    """What may be shown of an API key: its prefix and its last four characters."""
    return f"{KEY_PREFIX}…{key[-4:]}"


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode()), _SUM_LENGTH)


class Signer:
    """Signs and verifies tokens. Several master secrets may stand, comma-separated: the first signs, all verify."""

    def __init__(self, secret: bytes) -> None:
        self._keys = _named(secret, "tokens")
        self._kid, self._key = next(iter(self._keys.items()))
        self._key_keys = _named(secret, "api keys as tokens")

    def sign(self, audience: Audience, claims: Claims) -> str:
        """A JWT (HS256) with these claims."""
        payload = {
            "iss": ISSUER,
            "aud": audience,
            "sub": claims.user_id,
            "org": claims.organisation_id,
            "sid": claims.session_id,
            "iat": int(time.time()),
            "exp": int(claims.expires_at),
        }
        return jwt.encode(payload, self._key, algorithm="HS256", headers={"kid": self._kid})

    def verify(self, audience: Audience, token: str) -> Claims:
        """The claims of a token of ours. Raises BadToken."""
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            payload: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                audience=audience,
                issuer=ISSUER,
                options={"require": ["iss", "aud", "sub", "org", "sid", "exp"]},
            )
        except (jwt.PyJWTError, KeyError, ValueError, TypeError) as error:
            raise BadToken(str(error)) from error
        texts = [payload["sid"], payload["sub"], payload["org"]]
        return Claims(str(texts[0]), str(texts[1]), str(texts[2]), float(payload["exp"]))

    def sign_key(self, user_id: str | None, organisation_id: str, expires_at: float | None = None) -> str:
        """An API key in the form of a JWT, with the claims that ComfyDeploy's clients read; stored by its hash, as any.

        Being signed makes it no key: it is one while its row stands.
        """
        payload: dict[str, Any] = {"user_id": user_id, "org_id": organisation_id, "iat": int(time.time())}
        payload["jti"] = secrets.token_urlsafe(24)
        if expires_at is not None:
            payload["exp"] = int(expires_at)
        kid, key = next(iter(self._key_keys.items()))
        return jwt.encode(payload, key, algorithm="HS256", headers={"kid": kid})

    def is_key(self, token: str) -> bool:
        """Whether we signed this as an API key; whether it still is one, its row says."""
        try:
            key = self._key_keys[jwt.get_unverified_header(token).get("kid", "")]
            jwt.decode(token, key, algorithms=["HS256"], options={"require": ["iat", "jti"]})
        except (jwt.PyJWTError, KeyError, ValueError, TypeError):
            return False
        return True


def _named(secret: bytes, purpose: str) -> dict[str, bytes]:
    """The keys of a purpose by their ids, of each master secret in order."""
    keys = [derive(part.strip(), purpose) for part in secret.split(b",")]
    return {hashlib.sha256(key).hexdigest()[:16]: key for key in keys}
