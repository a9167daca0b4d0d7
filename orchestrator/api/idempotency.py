"""Repeats the answer to a POST whose Idempotency-Key was used before, for every route that does not do it by itself.

The first request claims the key, its answer is kept encrypted for a day; one that failed lets the key go. A route that
stores the key with what it makes has `opt=OWN`. Uploads (multipart) and event streams are passed on as they are.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import msgspec
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct

from orchestrator.api.exchange import Asked
from orchestrator.auth import Principal
from orchestrator.errors import Conflict
from orchestrator.live.once import REPLAYED, once_of, other_body
from orchestrator.scope import sent
from orchestrator.store import idempotency
from orchestrator.store.db import Database, DatabaseUnavailable
from orchestrator.store.idempotency import Kept, Once
from orchestrator.vault import Sealed, Vault

OWN: Final[dict[str, Any]] = {"own_idempotency": True}
"""`opt` of a handler that keeps Idempotency-Keys by itself."""
LARGEST: Final = 16 * 1024 * 1024
KEPT_HEADERS: Final = frozenset({b"content-type", b"location", b"etag"})


class KeptAnswer(Struct, frozen=True):
    """What is kept of an answer, besides its status."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class Idempotency(ASGIMiddleware):
    """Runs after authentication: a key belongs to a credential."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Answer from what is kept, or pass on and keep the answer."""
        principal: Principal | None = scope["user"]
        if principal is None or scope.get("method") != "POST" or not _covered(scope):
            await next_app(scope, receive, send)
            return
        once = await once_of(Asked(scope, receive, send))
        if once is None:
            await next_app(scope, receive, send)
            return
        services = scope["litestar_app"].state.services
        slot = _Slot(services.db, services.vault, principal.organisation_id, once)
        if await idempotency.claim(services.db, principal.organisation_id, once):
            await slot.first(scope, receive, send, next_app)
        else:
            await slot.replay(send)


def _covered(scope: Scope) -> bool:
    if scope["route_handler"].opt.get("own_idempotency"):
        return False
    if sent(scope, b"idempotency-key") is None:
        return False
    return not (sent(scope, b"content-type") or "").startswith("multipart/")


class _Slot:
    """A key and what is to be kept under it."""

    def __init__(self, db: Database, vault: Vault, organisation_id: str, once: Once) -> None:
        self._db = db
        self._vault = vault
        self._organisation_id = organisation_id
        self._once = once
        self._context = f"answer:{organisation_id}:{once.credential}:{once.route}:{once.key_hash.hex()}"

    async def first(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Let the route work; keep what it answers before it is sent."""
        record = _Record(send, self._keep, self._release)
        holding = asyncio.create_task(self._hold())
        try:
            await next_app(scope, receive, record)
        finally:
            holding.cancel()
            if not record.settled:
                await self._release()

    async def _release(self) -> None:
        await idempotency.release(self._db, self._organisation_id, self._once)

    async def _hold(self) -> None:
        """A route that takes its time (it waits for a run) keeps its key meanwhile."""
        while True:
            await asyncio.sleep(idempotency.LOCK_S / 3)
            with suppress(DatabaseUnavailable):
                await idempotency.hold(self._db, self._organisation_id, self._once)

    async def _keep(self, status: int, answer: KeptAnswer) -> None:
        sealed = self._vault.seal(self._context, msgspec.msgpack.encode(answer))
        await idempotency.keep(self._db, self._organisation_id, self._once, status, sealed)

    async def replay(self, send: Send) -> None:
        """Send what was answered then. Raises Invalid, Conflict."""
        kept = await idempotency.kept(self._db, self._organisation_id, self._once)
        if kept is not None and not kept.same:
            raise other_body()
        if kept is None or kept.status is None or kept.answer is None:
            detail = "the first request with this Idempotency-Key is still worked on"
            raise Conflict(detail, code="idempotency_in_flight", retry_after_s=1)
        answer = self._opened(kept)
        headers = [*answer.headers, (REPLAYED.lower().encode(), b"true")]
        await send({"type": "http.response.start", "status": kept.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    def _opened(self, kept: Kept) -> KeptAnswer:
        try:
            return msgspec.msgpack.decode(self._vault.open(self._context, kept.answer or b""), type=KeptAnswer)
        except Sealed as error:
            detail = "the request was answered, but the answer can no longer be read"
            raise Conflict(detail, code="idempotency_answer_lost") from error


class _Record:
    """A `send` that holds a good answer back until it is kept, and a refusal until its key was let go.

    Who has the answer may ask again at once.
    """

    def __init__(self, send: Send, keep: Any, release: Any) -> None:
        self._send = send
        self._keep = keep
        self._release = release
        self._held: list[Message] = []
        self._body = bytearray()
        self._through = False
        self.settled = False

    async def __call__(self, message: Message) -> None:
        """Take one message of the answer."""
        if message["type"] == "http.response.start" and not _keepable(message):
            self._through = True
            if message["status"] >= 400:
                await self._release()
                self.settled = True
        if self._through:
            await self._send(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.body":
            self._body += message["body"]
            if len(self._body) > LARGEST:
                await self._let_go()
            elif not message["more_body"]:
                await self._finish()

    async def _finish(self) -> None:
        start: Any = self._held[0]
        headers = [(name, value) for name, value in start["headers"] if name in KEPT_HEADERS]
        await self._keep(start["status"], KeptAnswer(headers, bytes(self._body)))
        self.settled = True
        await self._let_go()

    async def _let_go(self) -> None:
        self._through = True
        for message in self._held:
            await self._send(message)


def _keepable(start: Any) -> bool:
    kind = next((value for name, value in start["headers"] if name == b"content-type"), b"")
    return start["status"] < 400 and not kind.startswith(b"text/event-stream")
