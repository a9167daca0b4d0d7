"""The routes and the rules that hold for all of them: twins under /api, sizes, origins. It knows no route's work."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from comfy_core.packs import additions
from comfy_core.server import directories, files, info, prompt, queue, ws
from comfy_core.server.state import STATE, State

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/ws", ws.websocket),
    ("GET", "/prompt", prompt.get_prompt),
    ("POST", "/prompt", prompt.post_prompt),
    ("POST", "/interrupt", prompt.interrupt),
    ("POST", "/free", prompt.free),
    ("GET", "/queue", queue.get_queue),
    ("POST", "/queue", queue.post_queue),
    ("GET", "/history", queue.get_history),
    ("GET", "/history/{prompt_id}", queue.get_history_of),
    ("POST", "/history", queue.post_history),
    ("GET", "/view", files.view),
    ("POST", "/upload/image", files.upload_image),
    ("GET", "/object_info", info.object_info),
    ("GET", "/object_info/{class_type}", info.object_info_of),
    ("GET", "/system_stats", info.system_stats),
    ("GET", "/features", info.get_features),
    ("GET", "/models", info.models),
    ("GET", "/models/{folder}", info.models_of),
    ("GET", "/embeddings", info.embeddings),
    ("GET", "/fleet/health", info.health),
    ("DELETE", "/fleet/directories/{directory}", directories.remove),
)


def open_app(state: State) -> web.Application:
    """The application of one executor, still without routes: packs reach for it while they are imported."""
    guard: Middleware = (
        _cors(state.settings.network.cors_origin) if state.settings.network.cors_origin else _origin_guard
    )
    app = web.Application(
        client_max_size=state.settings.network.max_upload,
        middlewares=[guard],
    )
    app[STATE] = state
    return app


def add_routes(app: web.Application) -> None:
    """Our own routes, then those of packs."""
    for method, path, handler in ROUTES:
        app.router.add_route(method, path, handler)
        app.router.add_route(method, f"/api{path}", handler)
    additions.add_routes(app, app[STATE].additions.routes)


@web.middleware
async def _origin_guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A page of another site must not reach a server on this machine through the user's browser."""
    host, origin = request.headers.get(hdrs.HOST), request.headers.get(hdrs.ORIGIN)
    if host and origin and _is_loopback(host) and urlsplit(origin).netloc.lower() != host.lower():
        return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _cors(origin: str) -> Middleware:
    """Let pages of this origin in."""

    @web.middleware
    async def allow(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = web.Response() if request.method == "OPTIONS" else await handler(request)
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "POST, GET, DELETE, PUT, OPTIONS"
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Content-Type, Authorization"
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
        return answer

    return allow
