"""Who is asking, and what may they do: bearer tokens, API keys, session cookies, roles and logins.

Every route needs a credential unless its handler carries `opt={"public": True}`. A verified credential is
remembered for a few seconds, so a revoked one works for that long at most on another replica. It knows no resource.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv6Address
from typing import Any, Final

import argon2
import structlog
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException, TooManyRequestsException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Send
from litestar.types import Scope as Connection
from msgspec import Struct

from orchestrator.config import Config
from orchestrator.credentials import BadToken, Claims, Signer, looks_like_api_key
from orchestrator.errors import Forbidden, NotFound, TooMany, Unauthorized
from orchestrator.limits import Limits
from orchestrator.runs.access import RANK, Grant
from orchestrator.scope import sent
from orchestrator.store import keys, machines, members, users
from orchestrator.store.db import Database
from orchestrator.store.ids import digest, token
from orchestrator.wire import Role, Scope, Tokens

COOKIE: Final = "cf_session"
REMEMBER_S: Final = 10.0
REMEMBER_KEY_S: Final = 5.0
REMEMBERED: Final = 10_000
SESSION_COOKIE_S: Final = 7 * 86400
LONGEST_PASSWORD: Final = 1000
PUBLIC: Final[dict[str, Any]] = {"public": True}
"""`opt` of a handler that needs no credential of ours."""
LIMITED: Final[dict[str, Any]] = {**PUBLIC, "limited": True}
"""The same, of a handler that tries credentials: an address may ask it so often and no more."""

_KEY: Final = b"key"  # what is remembered of a key has another name than what is remembered of a token
_TRACE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Principal(Struct, frozen=True):
    """Whom a request acts for. user_id is None for a key whose maker is gone; key_id is None for a login.

    scopes narrow what the role allows, deployment_ids what may be run and seen of it; None: not narrowed.
    """

    organisation_id: str
    role: Role
    user_id: str | None = None
    key_id: str | None = None
    session_id: str | None = None
    scopes: frozenset[str] | None = None
    deployment_ids: frozenset[str] | None = None

    @property
    def grant(self) -> Grant:
        """What it may do, and so hand on."""
        return Grant(self.role, self.scopes, self.deployment_ids)

    @property
    def actor(self) -> str:
        """How the audit log names it."""
        return f"key:{self.key_id}" if self.key_id else f"user:{self.user_id}"

    def may(self, role: Role) -> bool:
        """Whether it ranks at least as high as role."""
        return RANK[self.role] >= RANK[role]

    def may_run(self, deployment_id: str | None) -> bool:
        """Whether it may start and see runs of this deployment; None: of a version without one."""
        return self.deployment_ids is None or deployment_id in self.deployment_ids

    def check_run(self, deployment_id: str | None) -> None:
        """Refuse a run that it may not start. Raises NotFound, Forbidden."""
        if self.may_run(deployment_id):
            return
        if deployment_id is None:
            raise Forbidden("this key starts runs of its deployments only", code="key_bound")
        raise NotFound(f"there is no deployment {deployment_id}", code="deployment_not_found")


class Requires(Struct, frozen=True):
    """What a route asks of whoever calls it: to rank at least as high as `role` and, of a key with scopes, `scope`.

    A key that is bound to deployments passes only where `bound` says that the handler asks `may_run`. The route
    inventory reads all three.
    """

    role: Role
    scope: Scope | None = None
    bound: bool = False

    def check(self, principal: Principal) -> None:
        """Raises Forbidden."""
        if not principal.may(self.role):
            raise Forbidden(f"this needs the role {self.role} or higher; the credential has {principal.role}")
        if self.scope is not None and principal.scopes is not None and self.scope not in principal.scopes:
            raise Forbidden(f"this needs the scope {self.scope}; the key has not been given it", code="scope_missing")
        if principal.deployment_ids is not None and self.scope is not None and not self.bound:
            raise Forbidden("this key is bound to deployments; it sees and starts their runs", code="key_bound")


def requires(role: Role, scope: Scope | None = None, *, bound: bool = False) -> dict[str, Any]:
    """The `opt` of a route that asks for this. scope: `resource:read` or `resource:write`, as in wire.base.Scope.

    It is checked before anything is stored for the request. (The framework's guards come later, and it copies the
    route's handler for each of them.)
    """
    return {"requires": Requires(role, scope, bound)}


async def only_logins(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A guard of pages for people, whose routes name no scope. Raises Forbidden for an API key."""
    if connection.scope["user"].key_id is not None:
        raise Forbidden("this is for people who logged in; an API key uses the API", code="login_needed")


class Passwords:
    """Argon2id in a thread, at most two at once: each takes 64 MiB and about 0.1 s."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher()
        self._room = asyncio.Semaphore(2)
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The text to store."""
        async with self._room:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def fits(self, password: str, stored: str | None) -> bool:
        """Whether the password is right; None (no such user) and "" (a user without one) take the same time."""
        if self._decoy is None:
            self._decoy = await self.hash("nobody has this password")
        async with self._room:
            right = await asyncio.to_thread(self._verify, stored or self._decoy, password)
        return right and bool(stored)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


class Authenticator:
    """Verifies credentials and opens, renews and closes logins."""

    def __init__(self, config: Config, secret: bytes, db: Database, limits: Limits) -> None:
        self._config = config
        self._db = db
        self.limits = limits
        self._signer = Signer(secret)
        self._remembered: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._used_keys: set[str] = set()
        self.passwords = Passwords()

    async def by_bearer(self, credential: str) -> Principal | None:
        """Whom an API key or an access token stands for."""
        name = digest(credential)
        known = self._recall(_KEY + name)
        if known is not None:
            self._used_keys.add(known.key_id or "")
            return known
        if looks_like_api_key(credential) or self._signer.is_key(credential):
            return await self._by_key(name)
        return await self._by_token("access", credential)

    def key_as_token(self, user_id: str | None, organisation_id: str, expires_at: float | None = None) -> str:
        """A new API key in the form of a JWT; it is one once its hash is stored."""
        return self._signer.sign_key(user_id, organisation_id, expires_at)

    async def by_cookie(self, credential: str) -> Principal | None:
        """Whom a session cookie stands for."""
        return await self._by_token("session", credential)

    async def _by_key(self, name: bytes) -> Principal | None:
        owner = await keys.owner(self._db, name)
        if owner is None:
            return None
        known = _principal_of(owner)
        until = REMEMBER_KEY_S + time.time()
        self._remember(_KEY + name, min(until, owner.expires_at.timestamp() if owner.expires_at else until), known)
        self._used_keys.add(known.key_id or "")
        return known

    async def _by_token(self, audience: Any, text: str) -> Principal | None:
        name = digest(f"{audience}:{text}")
        known = self._recall(name)
        if known is not None:
            return known
        try:
            claims = self._signer.verify(audience, text)
        except BadToken:
            return None
        member = await users.member(self._db, claims.session_id, claims.user_id, claims.organisation_id)
        if member is None:
            return None
        principal = Principal(claims.organisation_id, member.role, claims.user_id, None, claims.session_id)
        self._remember(name, min(time.time() + REMEMBER_S, claims.expires_at), principal)
        return principal

    def _recall(self, name: bytes) -> Principal | None:
        entry = self._remembered.get(name)
        if entry is None:
            return None
        if entry[0] <= time.time():
            self._remembered.pop(name, None)
            return None
        return entry[1]

    def _remember(self, name: bytes, until: float, principal: Principal) -> None:
        self._remembered[name] = (until, principal)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def forget(self, *, key_id: str | None = None, session_id: str | None = None, user_id: str | None = None) -> None:
        """Drop what is remembered of a key, a login or a user, so that a change takes effect here at once."""
        wanted = {("key", key_id), ("session", session_id), ("user", user_id)}
        for name, (_, known) in list(self._remembered.items()):
            held = {("key", known.key_id), ("session", known.session_id), ("user", known.user_id)}
            if any(value is not None for _, value in wanted & held):
                self._remembered.pop(name, None)

    async def limit_login(self, email: str, address: str) -> None:
        """Count an attempt to guess a password. Raises TooMany."""
        await self._limit(_login_bucket(email, address), address)

    async def check_password(self, principal: Principal, password: str, address: str) -> None:
        """Whether the user who logged in knows their password. Raises Unauthorized, TooMany."""
        known = await members.password_of(self._db, principal.user_id or "")
        if known is None:
            raise Unauthorized("the user is gone")
        bucket = _login_bucket(known[0], address)
        await self._limit(bucket, address)
        if not await self.passwords.fits(password, known[1]):
            raise Unauthorized("the password is wrong", code="bad_login")
        await self.limits.logins.fill(bucket)

    async def login(
        self, email: str, password: str, organisation: str | None, address: str, user_agent: str = ""
    ) -> Tokens:
        """Open a login. Raises Unauthorized, TooMany."""
        email = email.strip().lower()
        bucket = _login_bucket(email, address)
        await self._limit(bucket, address)
        password_fits_us = len(password) <= LONGEST_PASSWORD and "\0" not in email
        account = await users.account(self._db, email, organisation) if password_fits_us else None
        right = await self.passwords.fits(password[:LONGEST_PASSWORD], account.password_hash if account else None)
        if account is None or not right:
            raise Unauthorized("the address or the password is wrong", code="bad_login")
        await self.limits.logins.fill(bucket)
        return await self.open(account, user_agent)

    async def open(self, account: users.Account, user_agent: str, **how: str) -> Tokens:
        """Open a login of somebody who has shown who they are. how: what the audit log says of it besides."""
        refresh = token("cfr")
        expires_at = datetime.now(UTC) + timedelta(seconds=self._config.refresh_token_s)
        session_id = await users.open_session(self._db, account, digest(refresh), expires_at, user_agent, **how)
        return self._tokens(session_id, account.user_id, account.organisation_id, refresh)

    async def _limit(self, bucket: str, address: str) -> None:
        first = await self.limits.logins.take(bucket)
        second = await self.limits.logins_by_address.take(f"login:{address}")
        wait = max(first.wait_s, second.wait_s)
        if wait > 0:
            raise TooMany("too many attempts to log in", code="too_many_logins", retry_after_s=wait)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Trade a refresh token for a new pair. Raises Unauthorized; a token used twice ends its login."""
        fresh = token("cfr")
        rotated = await users.rotate(self._db, digest(refresh_token), digest(fresh))
        if rotated is None:
            raise Unauthorized("the refresh token is not valid, or was used before", code="bad_refresh_token")
        return self._tokens(rotated.session_id, rotated.user_id, rotated.organisation_id, fresh)

    async def logout(self, refresh_token: str) -> None:
        """End the login that the refresh token belongs to. An unknown token is not an error."""
        session_id = await users.close_by_refresh(self._db, digest(refresh_token))
        if session_id is not None:
            self.forget(session_id=session_id)

    async def close(self, session_id: str) -> None:
        """End a login by its id (the dashboard's logout)."""
        await users.close_session(self._db, session_id)
        self.forget(session_id=session_id)

    def session_cookie(self, access_token: str) -> str:
        """The value of the session cookie for a login just made. Raises Unauthorized."""
        try:
            claims = self._signer.verify("access", access_token)
        except BadToken as error:
            raise Unauthorized(str(error)) from error
        return self._signer.sign(
            "session",
            Claims(claims.session_id, claims.user_id, claims.organisation_id, time.time() + SESSION_COOKIE_S),
        )

    def _tokens(self, session_id: str, user_id: str, organisation_id: str, refresh: str) -> Tokens:
        life = self._config.access_token_s
        claims = Claims(session_id, user_id, organisation_id, time.time() + life)
        return Tokens(access_token=self._signer.sign("access", claims), refresh_token=refresh, expires_in=life)

    async def flush(self) -> bool:
        """Write down which keys were used since the last time; the tick of a background loop."""
        used, self._used_keys = self._used_keys, set()
        if used:
            await keys.touch(self._db, used)
        return False


def actor_of(principal: Principal) -> members.Actor:
    """The principal as the one who changes something."""
    return members.Actor(principal.organisation_id, principal.role, principal.actor, principal.user_id)


def _login_bucket(email: str, address: str) -> str:
    return f"login:{digest(f'{email} {address}').hex()[:32]}"


def _principal_of(owner: keys.KeyOwner) -> Principal:
    return Principal(
        owner.organisation_id,
        owner.role,
        owner.user_id,
        owner.key_id,
        scopes=None if owner.scopes is None else frozenset(owner.scopes),
        deployment_ids=None if owner.deployment_ids is None else frozenset(owner.deployment_ids),
    )


class MachineCredentials:
    """Which machine an agent's credential stands for, remembered for a few seconds."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[bytes, tuple[float, str]] = {}

    async def machine(self, credential: str) -> str | None:
        """The machine's id, or None."""
        name, now = digest(credential), time.monotonic()
        known = self._known.get(name)
        if known is not None and known[0] > now:
            return known[1]
        machine = await machines.by_credential(self._db, name)
        if machine is None:
            self._known.pop(name, None)
            return None
        self._known[name] = (now + REMEMBER_S, machine.id)
        return machine.id


def cookie_is_secure(config: Config) -> bool:
    """Whether the session cookie is sent over HTTPS only: always, but for a server reached as this very machine."""
    local = config.base_url.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
    return not (config.insecure_cookies or local)


class Authenticate(ASGIMiddleware):
    """Puts the Principal at scope["user"], or answers 401 unless the handler is public."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    async def handle(self, scope: Connection, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Verify and pass on. A public handler gets no principal unless it asks for an optional one."""
        opt = scope["route_handler"].opt
        scope["auth"] = None
        scope["user"] = None
        _note_trace(scope)
        authenticator: Authenticator = scope["litestar_app"].state.services.auth
        public = opt.get("public")
        if not public or opt.get("optional_principal"):
            principal = await self._principal(scope, authenticator)
            scope["user"] = principal
            if principal is not None:
                await _count(scope, authenticator.limits, principal.actor)
                asked: Requires | None = opt.get("requires")
                if asked is not None:
                    asked.check(principal)
            elif not public:
                await _count(scope, authenticator.limits, f"address:{address_of(scope)}")
                raise _refusal(scope, "a valid API key, access token or session cookie is needed")
        elif opt.get("limited"):
            await _count(scope, authenticator.limits, f"address:{address_of(scope)}")
        await next_app(scope, receive, send)

    async def _principal(self, scope: Connection, authenticator: Authenticator) -> Principal | None:
        finder = scope["route_handler"].opt.get("principal_by")
        if finder is not None:
            found: Principal | None = await finder(scope, authenticator)
            return found
        bearer, cookie = _credentials(scope)
        if bearer is not None:
            return await authenticator.by_bearer(bearer)
        if cookie is None:
            return None
        principal = await authenticator.by_cookie(cookie)
        if principal is not None and is_cross_site(scope):
            raise Forbidden("a page of another site may not act with this cookie", code="cross_site")
        return principal


def _note_trace(scope: Connection) -> None:
    """Put the caller's trace id (W3C Trace Context) into every log line of this request."""
    trace = _TRACE.fullmatch(sent(scope, b"traceparent") or "")
    if trace is not None and trace[1].strip("0") and trace[2].strip("0"):
        structlog.contextvars.bind_contextvars(trace_id=trace[1])


async def _count(scope: Connection, limits: Limits, name: str) -> None:
    """Count the request against the limit of whoever sent it. Raises TooMany."""
    limit = limits.requests
    if limit is None:
        return
    standing = await limit.take(name)
    scope.setdefault("state", {})["rate_limit"] = (limit.policy, standing)
    if standing.wait_s > 0:
        detail = f"more than this installation allows ({limit.policy})"
        if scope["type"] == ScopeType.WEBSOCKET:
            raise TooManyRequestsException(detail)
        raise TooMany(detail, retry_after_s=standing.wait_s)


def _refusal(scope: Connection, detail: str) -> Exception:
    # Litestar closes a WebSocket with 4000 + the status of an HTTPException of its own.
    return NotAuthorizedException(detail) if scope["type"] == ScopeType.WEBSOCKET else Unauthorized(detail)


def _credentials(scope: Connection) -> tuple[str | None, str | None]:
    """The bearer credential and the session cookie of a request."""
    bearer = cookie = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = value.decode("latin-1").partition(" ")
            bearer = rest.strip() if scheme.lower() == "bearer" else ""
        elif name == b"cookie" and COOKIE.encode() in value:
            cookie = _cookie(value.decode("latin-1"))
    return bearer, cookie


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def is_cross_site(scope: Connection) -> bool:
    """Whether a browser sent this for a page of another origin: a change, or a WebSocket, with our cookie."""
    if scope["type"] == ScopeType.HTTP and scope["method"] in _SAFE_METHODS:
        return False
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get(b"origin")
    return origin is not None and origin.partition("://")[2] != headers.get(b"host")


def address_of(scope: Connection) -> str:
    """The caller's address, as the server that accepted the connection saw it; of IPv6 the network of 64 bits.

    Whoever has one IPv6 address has all of its network.
    """
    client = scope.get("client")
    if not client or ":" not in client[0]:
        return client[0] if client else ""
    try:
        address = IPv6Address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
