"""Values encrypted at rest: AES-256-GCM under keys derived from the master secret. It knows no table.

A sealed value is bound to a context (whose it is, what it is called) and opens in no other place. Several master
secrets may stand, comma-separated: the first seals, all open.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.credentials import derive

_NONCE: Final = 12
_ID: Final = 8
_MARK: Final = 16


class Sealed(Exception):
    """A value that cannot be opened: its master secret is gone, it was changed, or it is of another place."""


class Vault:
    """Seals and opens values for one purpose. A sealed value is: key id (8 bytes), nonce (12), ciphertext with tag."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        keys = [derive(part.strip(), purpose) for part in secret.split(b",")]
        self._keys = {hashlib.sha256(key).digest()[:_ID]: AESGCM(key) for key in reversed(keys)}
        self._id = hashlib.sha256(keys[0]).digest()[:_ID]
        self._marking = derive(secret.split(b",")[0].strip(), f"{purpose}:fingerprint")

    @property
    def key_id(self) -> str:
        """Which key seals now, as hexadecimal."""
        return self._id.hex()

    def seal(self, context: str, value: bytes) -> bytes:
        """Encrypt a value for its place."""
        nonce = secrets.token_bytes(_NONCE)
        return self._id + nonce + self._keys[self._id].encrypt(nonce, value, context.encode())

    def fingerprint(self, context: str, value: bytes) -> str:
        """Equal for equal values of one context; without the master secret it tells nothing else of them."""
        return hmac.digest(self._marking, context.encode() + b"\0" + value, "sha256").hex()[:_MARK]

    def open(self, context: str, sealed: bytes) -> bytes:
        """The value. Raises Sealed."""
        key, nonce = self._keys.get(sealed[:_ID]), sealed[_ID : _ID + _NONCE]
        if key is None:
            raise Sealed("the master secret that sealed it is not at hand")
        try:
            return key.decrypt(nonce, sealed[_ID + _NONCE :], context.encode())
        except (InvalidTag, ValueError) as error:
            raise Sealed("it was changed, or is of another place") from error
