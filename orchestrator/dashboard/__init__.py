"""The dashboard: server-rendered pages for people, kept fresh by one event stream each.

`routes` and `template_config()` are all that app.py needs. It reads the store and the hub, and changes things through
the same functions as the API; it imports neither the API nor a loop.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, Router
from litestar.datastructures import CacheControlHeader
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Redirect
from litestar.static_files import create_static_files_router

from orchestrator.auth import PUBLIC, only_logins, requires
from orchestrator.dashboard import actions, pages, session, stream
from orchestrator.dashboard.desk import STATIC, here, page, provide_desk, template_config
from orchestrator.errors import ApiProblem, Unauthorized
from orchestrator.store.db import DatabaseUnavailable

__all__ = ["routes", "template_config"]

YEAR_S: Final = 31_536_000
LONGEST_PATH: Final = 200
AnyRequest = Request[Any, Any, Any]


def _to_the_door(request: AnyRequest, _error: Unauthorized) -> Response[Any]:
    """Without a valid cookie: a page is sent to have its login renewed, a stream is told so."""
    if request.url.path == stream.PATH:
        return Response(None, status_code=401)
    target = here(request) if request.method == "GET" else "/?done=renewed"
    return Redirect(session.renewal(target), status_code=303)


def _page_of(request: AnyRequest, status: int, title: str, detail: str) -> Response[Any]:
    return page(request.app.state.config, "error", status, status=status, title=title, detail=detail)


def _problem(request: AnyRequest, error: ApiProblem) -> Response[Any]:
    return _page_of(request, error.status, error.title, error.detail)


def _framework(request: AnyRequest, error: HTTPException) -> Response[Any]:
    return _page_of(request, error.status_code, "This did not work", error.detail)


def _database_away(request: AnyRequest, _error: DatabaseUnavailable) -> Response[Any]:
    return _page_of(request, 503, "Unavailable", "The database cannot be reached now. Reload in a moment.")


async def _possible(request: AnyRequest) -> None:
    """No file has such a name, and the file system fails when it is asked for one."""
    path = request.scope["path"]
    if "\0" in path or len(path) > LONGEST_PATH:
        raise NotFoundException


HANDLERS: Final[dict[Any, Any]] = {
    Unauthorized: _to_the_door,
    ApiProblem: _problem,
    HTTPException: _framework,
    DatabaseUnavailable: _database_away,
}
routes: Final = [
    Router(
        "/",
        route_handlers=[*pages.handlers, *actions.handlers, stream.stream_page],
        dependencies={"desk": Provide(provide_desk)},
        opt=requires("viewer"),
        guards=[only_logins],
        exception_handlers=HANDLERS,
    ),
    Router("/", route_handlers=session.handlers, exception_handlers=HANDLERS),
    create_static_files_router(
        "/dashboard/static",
        directories=[STATIC],
        before_request=_possible,
        opt=PUBLIC,
        include_in_schema=False,
        cache_control=CacheControlHeader(public=True, max_age=YEAR_S, immutable=True),
    ),
]
