"""Logging in by an OpenID provider: the way there, and what comes back from it. Authorization code flow with PKCE.

Between the two a signed cookie, which lives for minutes, holds the state; nonce and code verifier are derived from it.
What the provider says is verified in openid.py. It knows no page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any, Final
from urllib.parse import urlencode

import jwt
import structlog
from msgspec import Struct

from orchestrator.auth import Authenticator
from orchestrator.config import Config
from orchestrator.credentials import derive
from orchestrator.errors import Forbidden
from orchestrator.live.openid import Provider, failed
from orchestrator.runs.sign_on import WORDS, Refused, domains_of, person_of
from orchestrator.store import identities
from orchestrator.store.db import Database
from orchestrator.wire import Tokens

log = structlog.get_logger("sign_on")

COOKIE: Final = "cf_sign_on"
FLOW_S: Final = 600
CALLBACK: Final = "/login/oidc/callback"


class Departure(Struct, frozen=True):
    """Where the browser goes, and the cookie that it brings back."""

    url: str
    cookie: str


class Arrival(Struct, frozen=True):
    """What the browser brings back from the provider."""

    code: str = ""
    state: str = ""
    error: str = ""
    issuer: str = ""


class _Flow(Struct, frozen=True):
    """One attempt to log in: what is derived from its state, and where it leads."""

    state: str
    nonce: str
    verifier: str
    target: str


def is_on(config: Config) -> bool:
    """Whether the settings name a provider."""
    return bool(config.oidc_issuer and config.oidc_client_id)


class SignOn:
    """Sends people to the provider and judges what they bring back."""

    def __init__(self, config: Config, secret: bytes, db: Database, auth: Authenticator) -> None:
        self._config = config
        self._db = db
        self._auth = auth
        self._flows = _Flows(secret)
        self._provider = Provider(config)
        self._domains = domains_of(config.oidc_domains)

    @property
    def _callback(self) -> str:
        return self._config.base_url + CALLBACK

    async def depart(self, target: str) -> Departure:
        """The way to the provider. target: the page to come back to. Raises Unavailable."""
        described = await self._provider.described()
        cookie, flow = self._flows.begin(target)
        challenge = hashlib.sha256(flow.verifier.encode()).digest()
        wanted = {
            "response_type": "code",
            "client_id": self._config.oidc_client_id,
            "redirect_uri": self._callback,
            "scope": "openid email profile",
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in described.authorization_endpoint else "?"
        return Departure(described.authorization_endpoint + joint + urlencode(wanted), cookie)

    async def arrive(self, arrival: Arrival, cookie: str, user_agent: str) -> tuple[Tokens, str]:
        """A new login and the page to show. Raises Unauthorized, Forbidden, Unavailable."""
        flow = self._flows.resume(cookie, arrival.state)
        described = await self._provider.described()
        if arrival.issuer and arrival.issuer != described.issuer:
            raise failed("the answer is another provider's")
        if arrival.error or not arrival.code:
            denied = arrival.error == "access_denied"
            raise failed("it was declined there" if denied else "the provider reports an error")
        claims = await self._provider.claims(arrival.code, flow.verifier, flow.nonce, self._callback)
        return await self._let_in(described.issuer, claims, user_agent), flow.target

    async def _let_in(self, issuer: str, claims: dict[str, Any], user_agent: str) -> Tokens:
        person = person_of(issuer, claims, self._domains)
        found: Any = person
        if not isinstance(person, Refused):
            joins = self._config.oidc_organisation if self._domains else None
            found = await identities.enter(self._db, person, joins, self._config.oidc_role)
        if isinstance(found, Refused):
            log.warning("sign-on refused", reason=found.why, subject=claims["sub"])
            raise Forbidden(WORDS[found.why], code="sign_on_refused")
        return await self._auth.open(found, user_agent, by="oidc", issuer=issuer)


class _Flows:
    """The cookies of logins on their way, signed under a key of their own."""

    def __init__(self, secret: bytes) -> None:
        self._keys = [derive(part.strip(), "sign-on flows") for part in secret.split(b",")]

    def begin(self, target: str) -> tuple[str, _Flow]:
        state, key = secrets.token_urlsafe(24), self._keys[0]
        payload = {"aud": "sign-on", "state": state, "to": target, "exp": int(time.time()) + FLOW_S}
        return jwt.encode(payload, key, algorithm="HS256"), _flow(key, state, target)

    def resume(self, cookie: str, state: str) -> _Flow:
        """The flow of this browser. Raises Unauthorized when there is none, or the state is another's."""
        for key in self._keys:
            try:
                known = jwt.decode(cookie, key, algorithms=["HS256"], audience="sign-on", options={"require": ["exp"]})
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError:
                break
            if not hmac.compare_digest(str(known["state"]).encode(), state.encode()):
                raise failed("it was begun in another window, or by somebody else")
            return _flow(key, state, str(known["to"]))
        raise failed("it was not begun here, or took too long")


def _flow(key: bytes, state: str, target: str) -> _Flow:
    nonce, verifier = (
        base64.urlsafe_b64encode(hmac.digest(key, f"{use}:{state}".encode(), "sha256")).rstrip(b"=").decode()
        for use in ("nonce", "verifier")
    )
    return _Flow(state, nonce, verifier, target)
