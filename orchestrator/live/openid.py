"""An OpenID provider: its description, its keys, its token endpoint, and ID tokens verified.

Everything is fetched through the guard on addresses, follows no redirect, and is kept for an hour; a key that is not
known makes the keys be fetched afresh. No error and no log line quotes what the provider sent, which may be a token.
It knows no user of ours.
"""

from __future__ import annotations

import base64
import hmac
import time
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

import jwt
import msgspec
import structlog
from aiohttp import ClientSession
from msgspec import Struct

from drivers import egress
from orchestrator.config import Config
from orchestrator.errors import Unauthorized, Unavailable
from orchestrator.runs.sign_on import is_subject

log = structlog.get_logger("sign_on")

KEEP_S: Final = 3600.0
AGAIN_S: Final = 1.0  # a key that is not known makes the keys be fetched afresh, so often at most
PATIENCE_S: Final = 10.0
LARGEST: Final = 256 * 1024
LEEWAY_S: Final = 60
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures of a key pair only: with HMAC whoever knows the client secret could make tokens."""
_JSON: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Description(Struct):
    """What we need of a provider's discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])


class _Given(Struct):
    """What a token endpoint answers."""

    id_token: str
    access_token: str = ""


def failed(reason: str, **detail: str) -> Unauthorized:
    """A login that did not succeed. reason: for the reader as for the log."""
    log.warning("sign-on failed", reason=reason, **detail)
    text = f"The login by single sign-on did not succeed: {reason}. Try again."
    return Unauthorized(text, code="sign_on_failed")


def _away(reason: str) -> Unavailable:
    log.warning("sign-on unavailable", reason=reason)
    return Unavailable("Single sign-on cannot be used now. Try again later.", code="sign_on_unavailable")


class Provider:
    """The OpenID provider that the settings name: its description, its keys, its token endpoint."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._private = config.oidc_private
        self._issuer = (config.oidc_issuer or "").rstrip("/")
        self._described: Description | None = None
        self._described_until = 0.0
        self._keys: list[jwt.PyJWK] = []
        self._keys_until = 0.0
        self._keys_again = 0.0

    async def described(self) -> Description:
        """Its discovery document, at most an hour old. Raises Unavailable."""
        if self._described is None or time.monotonic() >= self._described_until:
            text = await self._ask(f"{self._issuer}/.well-known/openid-configuration")
            self._described = self._checked(text)
            self._described_until = time.monotonic() + KEEP_S
        return self._described

    def _checked(self, text: str) -> Description:
        try:
            found = msgspec.json.decode(text, type=Description)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise _away("its description is not one") from error
        if found.issuer.rstrip("/") != self._issuer:
            raise _away("its description is another issuer's")
        schemes = ("https", "http") if self._private else ("https",)
        if urlsplit(found.authorization_endpoint).scheme not in schemes:
            raise _away("its login page has no https address")
        return found

    async def claims(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> dict[str, Any]:
        """What the provider says of whoever brought the code, verified. Raises Unauthorized, Unavailable."""
        described = await self.described()
        given = await self._trade(described, code, verifier, redirect_uri)
        claims = await self._verified(described, given.id_token, nonce)
        if "email" not in claims and described.userinfo_endpoint and given.access_token:
            claims = {**await self._told(described, given.access_token, claims["sub"]), **claims}
        return claims

    async def _trade(self, described: Description, code: str, verifier: str, redirect_uri: str) -> _Given:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form |= {"code_verifier": verifier, "client_id": self._config.oidc_client_id}
        headers = {"Content-Type": "application/x-www-form-urlencoded", **_JSON}
        secret = self._config.oidc_client_secret
        if secret and "client_secret_basic" in described.token_endpoint_auth_methods_supported:
            pair = f"{quote(self._config.oidc_client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif secret:
            form["client_secret"] = secret
        answer = await self._call("POST", described.token_endpoint, headers, urlencode(form).encode())
        if answer.code in (400, 401, 403):
            raise failed("the provider did not accept what it gave", error=_error_of(answer.text))
        if answer.code != 200:
            raise _away(f"its token endpoint answered {answer.code}")
        try:
            return msgspec.json.decode(answer.text, type=_Given)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise failed("the provider gave no ID token") from error

    async def _verified(self, described: Description, token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token (OpenID Connect Core, section 3.1.3.7)."""
        client_id = self._config.oidc_client_id
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(described, header)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=client_id,
                issuer=described.issuer,
                leeway=LEEWAY_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise failed("the provider's ID token is not valid", error=type(error).__name__) from error
        if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise failed("the provider's ID token is of another login")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else client_id) != client_id or not is_subject(claims["sub"]):
            raise failed("the provider's ID token is not for this installation")
        return claims

    async def _key(self, described: Description, header: dict[str, Any]) -> Any:
        """The public key that a token names; keys are fetched afresh for one that is not known."""
        now = time.monotonic()
        if now >= self._keys_until:
            await self._fetch_keys(described)
        found = _fitting(self._keys, header)
        if found is None and now >= self._keys_again:
            await self._fetch_keys(described)
            found = _fitting(self._keys, header)
        if found is None:
            raise failed("the provider's ID token is signed by a key that is not the provider's")
        return found.key

    async def _fetch_keys(self, described: Description) -> None:
        self._keys_again = time.monotonic() + AGAIN_S
        text = await self._ask(described.jwks_uri)
        try:
            self._keys = jwt.PyJWKSet.from_json(text).keys
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise _away("its keys are none") from error
        self._keys_until = time.monotonic() + KEEP_S

    async def _told(self, described: Description, access_token: str, subject: str) -> dict[str, Any]:
        """What the userinfo endpoint says of the same person."""
        text = await self._ask(described.userinfo_endpoint, Authorization=f"Bearer {access_token}")
        try:
            told = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise failed("the provider tells nothing of you") from error
        if told.get("sub") != subject:
            raise failed("the provider tells of somebody else")
        return told

    async def _ask(self, url: str, **headers: str) -> str:
        answer = await self._call("GET", url, {**_JSON, **headers})
        if answer.code != 200:
            raise _away(f"{urlsplit(url).path} answered {answer.code}")
        return answer.text

    async def _call(
        self, method: Literal["GET", "POST"], url: str, headers: dict[str, str], body: bytes = b""
    ) -> egress.Answer:
        if not self._private and urlsplit(url).scheme != "https":
            raise _away("an address of it is not https")
        try:
            async with egress.guarded_session(self._private, PATIENCE_S, connections=1) as session:
                return await self._sent(session, method, url, headers, body)
        except (egress.Refused, egress.Undelivered) as error:
            raise _away(f"{urlsplit(url).netloc}: {error}") from error

    async def _sent(
        self, session: ClientSession, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> egress.Answer:
        if method == "POST":
            return await egress.post(session, url, body, headers, allow_private=self._private, limit=LARGEST)
        return await egress.ask(session, url, headers, allow_private=self._private, limit=LARGEST)


def _fitting(keys: list[jwt.PyJWK], header: dict[str, Any]) -> jwt.PyJWK | None:
    """The key for a token's header: by its id, or the only one when the token names none."""
    usable = [key for key in keys if key.key_type != "oct" and key.public_key_use in (None, "sig")]
    if "kid" in header:
        usable = [key for key in usable if key.key_id == header["kid"]]
    return usable[0] if len(usable) == 1 else None


def _error_of(text: str) -> str:
    """The `error` of a token endpoint's refusal, a word of RFC 6749; never its description, which may quote a token."""
    try:
        known = msgspec.json.decode(text, type=dict[str, Any]).get("error", "")
    except (msgspec.DecodeError, UnicodeEncodeError):
        return ""
    return known if isinstance(known, str) and known.isascii() and known.isprintable() and len(known) < 50 else ""
