"""The routes, each with its twin under /api, and the rules over them. It knows no route's work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from comfy_core.packs import additions
from comfy_core.server import (
    directories,
    extensions,
    files,
    frontend,
    info,
    internal,
    models,
    prompt,
    queue,
    rules,
    uploads,
    userdata,
    users,
    ws,
)
from comfy_core.server.directories import in_its_directory
from comfy_core.server.state import STATE, State
from comfy_core.users import Users

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Routes = tuple[tuple[str, str, Handler], ...]
ROUTES: Routes = (
    ("GET", "/", frontend.index),
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
    ("GET", "/view", in_its_directory(files.view)),
    ("POST", "/upload/image", in_its_directory(uploads.upload_image)),
    ("POST", "/upload/mask", in_its_directory(uploads.upload_mask)),
    ("GET", "/object_info", info.object_info),
    ("GET", "/object_info/{class_type}", info.object_info_of),
    ("GET", "/system_stats", info.system_stats),
    ("GET", "/features", info.get_features),
    ("GET", "/models", models.models),
    ("GET", "/models/{folder}", models.models_of),
    ("GET", "/embeddings", models.embeddings),
    ("GET", "/view_metadata/{folder}", models.metadata),
    ("GET", "/experiment/models", models.kinds),
    ("GET", "/experiment/models/{folder}", models.facts_of),
    ("GET", "/experiment/models/preview/{folder}/{index}/{file:.*}", models.picture_of),
    ("GET", "/users", users.get_users),
    ("POST", "/users", users.post_users),
    ("GET", "/settings", users.get_settings),
    ("GET", "/settings/{id}", users.get_setting),
    ("POST", "/settings", users.post_settings),
    ("POST", "/settings/{id}", users.post_setting),
    ("GET", "/userdata", userdata.list_files),
    ("GET", "/v2/userdata", userdata.list_all),
    ("GET", "/userdata/{file}", userdata.get_file),
    ("POST", "/userdata/{file}", userdata.post_file),
    ("DELETE", "/userdata/{file}", userdata.delete_file),
    ("POST", "/userdata/{file}/move/{dest}", userdata.move_file),
    ("GET", "/fleet/health", info.health),
    ("DELETE", "/fleet/directories/{directory}", directories.remove),
    *extensions.ROUTES,
)
ONLY_HERE: Routes = (
    ("GET", "/internal/logs", internal.logs),
    ("GET", "/internal/logs/raw", internal.raw_logs),
    ("PATCH", "/internal/logs/subscribe", internal.follow_logs),
    ("GET", "/internal/folder_paths", internal.folder_paths),
    ("GET", "/internal/files/{kind}", internal.files),
)
"""Without a twin under /api."""


def open_app(state: State) -> web.Application:
    """The application of one executor, still without routes: packs reach for it while they are imported."""
    network = state.settings.network
    app = web.Application(
        client_max_size=network.max_upload,
        middlewares=rules.middlewares(network.cors_origin, network.compress),
    )
    for sign in rules.signs(network.cors_origin):
        app.on_response_prepare.append(sign)
    app[STATE] = state
    app[users.USERS] = Users(state.services.folders.user, network.multi_user)
    return app


def add_routes(app: web.Application) -> None:
    """Our own routes, then those of packs, then the front end's files."""
    for method, path, handler in ROUTES:
        _add(app, method, path, handler)
        _add(app, method, f"/api{path}", handler)
    for method, path, handler in ONLY_HERE:
        _add(app, method, path, handler)
    additions.add_routes(app, app[STATE].additions.routes)
    frontend.add_files(app, frontend.find(app[STATE].settings.network.front_end))


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    if method == "GET":
        app.router.add_get(path, handler)
    else:
        app.router.add_route(method, path, handler)
