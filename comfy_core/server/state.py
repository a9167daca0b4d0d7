"""What the handlers share: one object, held by the application. It does nothing itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from comfy_core.config import Settings
from comfy_core.packs.additions import Additions
from comfy_core.queue import History, PromptQueue
from comfy_core.registry import Registry, Services
from comfy_core.server.hub import Hub
from comfy_core.worker import Worker


@dataclass(frozen=True, slots=True)
class State:
    """The parts of one running executor."""

    settings: Settings
    services: Services
    registry: Registry
    queue: PromptQueue
    history: History
    worker: Worker
    hub: Hub
    additions: Additions = field(default_factory=Additions)


STATE: web.AppKey[State] = web.AppKey("state", State)


async def read_json(request: web.Request) -> Any:
    """The request's body; 400 when it is not JSON, NaN and infinities included, which JSON does not have."""
    try:
        return msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass  # whatever it will not take is judged below
    try:
        return json.loads(await request.text(), parse_constant=_refuse)
    except (ValueError, LookupError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"The body is not JSON: {str(error)[:200]}") from error


async def read_object(request: web.Request) -> dict[str, Any]:
    """The request's body, which must be a JSON object; an empty body is an empty object."""
    if not request.can_read_body:
        return {}
    body = await read_json(request)
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="The body is not a JSON object")
    return body


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
