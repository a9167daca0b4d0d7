"""/users and /settings. It knows no files of users; `userdata` does."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from comfy_core.errors import InputRefused
from comfy_core.server.state import read_json
from comfy_core.users import UnknownUser, Users

HEADER = "comfy-user"
USERS: web.AppKey[Users] = web.AppKey("users", Users)


def users_of(request: web.Request) -> Users:
    """Everyone this executor knows."""
    return request.app[USERS]


def user_of(request: web.Request) -> str | None:
    """Whom the request is for; it matters only where there are several."""
    return request.headers.get(HEADER)


async def get_users(request: web.Request) -> web.Response:
    """Who there is, or that there is only one."""
    users = users_of(request)
    if users.several:
        return web.json_response({"storage": "server", "users": users.names()})
    return web.json_response({"storage": "server", "migrated": users.migrated})


async def post_users(request: web.Request) -> web.Response:
    """Add one; its id."""
    body = await read_json(request)
    name = body.get("username") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise web.HTTPBadRequest(text="username is not a text")
    try:
        return web.json_response(await asyncio.to_thread(users_of(request).add, name))
    except (InputRefused, ValueError) as error:
        return web.json_response({"error": str(error)}, status=400)


async def get_settings(request: web.Request) -> web.Response:
    """All that a user has set."""
    return web.json_response(await _settings(request))


async def get_setting(request: web.Request) -> web.Response:
    """One of them, null when it is not set."""
    return web.json_response((await _settings(request)).get(request.match_info["id"]))


async def post_settings(request: web.Request) -> web.Response:
    """Set some."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="settings are a JSON object")
    return await _set(request, body)


async def post_setting(request: web.Request) -> web.Response:
    """Set one; any JSON is a value."""
    return await _set(request, {request.match_info["id"]: await read_json(request)})


async def _settings(request: web.Request) -> dict[str, Any]:
    try:
        return await asyncio.to_thread(users_of(request).settings, user_of(request))
    except UnknownUser as error:
        raise web.HTTPUnauthorized from error


async def _set(request: web.Request, changes: dict[str, Any]) -> web.Response:
    try:
        await asyncio.to_thread(users_of(request).set, user_of(request), changes)
    except UnknownUser as error:
        raise web.HTTPUnauthorized from error
    return web.Response()
