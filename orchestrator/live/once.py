"""The Idempotency-Key of a request, for whoever makes something by POST, in every dialect.

It knows what the header may hold and what makes two requests the same: who asks, method and path, and the body.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State

from orchestrator.auth import Principal
from orchestrator.errors import BadRequest, Invalid
from orchestrator.scope import sent
from orchestrator.store.idempotency import Once
from orchestrator.store.ids import digest

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")


async def once_of(request: Request[Principal, Any, State]) -> Once | None:
    """What the request's Idempotency-Key stands for; None: it has none. Raises BadRequest."""
    key = sent(request.scope, b"idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadRequest(f"{HEADER} is 1 to 255 printable ASCII characters", code="bad_idempotency_key")
    body = hashlib.sha256(await request.body()).digest()
    return Once(request.user.actor, f"{request.method} {request.scope['path']}", digest(key), body)


def other_body() -> Invalid:
    """The key was used with another body."""
    return Invalid(f"this {HEADER} was used with another body; give each request its own", code="idempotency_key_reuse")
