"""/ws: a client's socket, from hello to close. It knows the hub, not what is sent."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from aiohttp import WSMsgType, web

from comfy_core.server.hub import Client, encode
from comfy_core.server.info import features
from comfy_core.server.line import Line
from comfy_core.server.state import STATE, State

HEARTBEAT_S = 30.0


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Status first, then what concerns this client until it goes."""
    state = request.app[STATE]
    client_id = request.query.get("clientId") or uuid.uuid4().hex
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S)
    await socket.prepare(request)
    client = Client(client_id, Line(socket, request.transport))
    state.hub.join(client)
    client.push(encode("status", state.hub.status() | {"sid": client_id}))
    at = state.worker.running_node(client_id)
    if at is not None:
        client.push(encode("executing", {"node": at}))
    pump = asyncio.create_task(client.pump())
    try:
        await _listen(state, client, socket)
    finally:
        pump.cancel()
        state.hub.leave(client)
    return socket


async def _listen(state: State, client: Client, socket: web.WebSocketResponse) -> None:
    """The first message may negotiate features; all else a client says is passed over."""
    first = True
    async for message in socket:
        if first and message.type is WSMsgType.TEXT:
            asked = _features_asked(message.data)
            if asked is not None:
                client.features = asked
                client.push(encode("feature_flags", features(state.settings)))
        first = False


def _features_asked(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("type") != "feature_flags":
        return None
    asked = said.get("data")
    return asked if isinstance(asked, dict) else {}
