"""What every page of the dashboard shares: the reader, the frame around a page, its security headers.

It knows no page by name and no SQL.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.template import TemplateConfig
from msgspec import Struct

from orchestrator.auth import Principal
from orchestrator.config import Config
from orchestrator.dashboard.words import FILTERS
from orchestrator.errors import NotFound
from orchestrator.live.hub import Hub
from orchestrator.store import overview
from orchestrator.store.db import Database
from orchestrator.wire import ProgressEvent

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
NOTICES: Final = {
    "drained": ("good", "The machine takes no more runs and finishes those it holds."),
    "undrained": ("good", "The machine takes runs again."),
    "deleted": ("good", "The machine was deleted; its agent can no longer connect."),
    "busy": ("warn", "The machine still holds runs. Drain it first, then delete it."),
    "cancelled": ("good", "The run was cancelled."),
    "ended": ("warn", "The run had already ended."),
    "renewed": ("warn", "Your login was renewed. Please do that once more."),
}


def _build() -> str:
    """A short hash of the static files: their addresses change when they do."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """The template engine for create_app: everything escaped, an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["build"] = _build()
    for name in ("stream", "notice", "error", "enrol"):
        environment.globals[name] = ""
    environment.globals["progress"] = {}
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


class Desk(Struct, frozen=True):
    """One reader at one page."""

    config: Config
    db: Database
    hub: Hub
    principal: Principal

    @property
    def organisation_id(self) -> str:
        """Whose rows this reader sees."""
        return self.principal.organisation_id

    @property
    def may_change(self) -> bool:
        """Whether machines may be changed and runs cancelled: the same role as in the API."""
        return self.principal.may("developer")

    def progress(self, run_ids: list[str]) -> dict[str, ProgressEvent]:
        """The newest progress of those runs that report some."""
        told = {run_id: self.hub.progress(run_id) for run_id in run_ids}
        return {run_id: event for run_id, event in told.items() if event is not None}


async def provide_desk(config: Config, db: Database, hub: Hub, principal: Principal) -> Desk:
    """The reader of this request; raises Unauthorized before any page is made."""
    return Desk(config, db, hub, principal)


def security_headers(config: Config) -> dict[str, str]:
    """Nothing but our own files may load or run; pictures may also come from the object storage."""
    pictures = " ".join(["'self'", "data:", *_storage(config)])
    policy = (
        "default-src 'self'; "
        f"img-src {pictures}; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _storage(config: Config) -> list[str]:
    if config.files_url is None:
        return []
    if config.files_endpoint is None:
        return ["https://*.amazonaws.com"]
    parts = urlsplit(config.files_endpoint)
    return [f"{parts.scheme}://{parts.netloc}"]


def page(config: Config, name: str, code: int = 200, **context: Any) -> Template:
    """A page without a reader: the door, an error."""
    return Template(f"{name}.html", context=context, status_code=code, headers=security_headers(config))


async def show(request: Request[Any, Any, Any], desk: Desk, name: str, stream: str, **context: Any) -> Template:
    """A page inside the frame. stream names what its live part follows ("runs=1&machines=1", "run=<id>")."""
    reader = await overview.reader(desk.db, desk.organisation_id, desk.principal.user_id)
    tone, text = NOTICES.get(request.query_params.get("done", ""), ("", ""))
    frame = {
        "section": context.pop("section"),
        "here": context.pop("here", None) or here(request),
        "stream": f"/dashboard/stream?{stream}",
        "who": reader.email or "API key",
        "organisation": reader.organisation,
        "notice": {"tone": tone, "text": text} if text else "",
        "base_url": desk.config.base_url,
    }
    return page(desk.config, name, **frame, **context)


def here(request: Request[Any, Any, Any]) -> str:
    """This page's path and query, without the notice."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "done"]
    query = "&".join(f"{quote(key)}={quote(str(value))}" for key, value in kept)
    return f"{request.url.path}?{query}" if query else request.url.path


def local_path(path: str) -> str:
    """The path if it leads to this site's pages, else the overview: never somebody else's address."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if safe else "/"


def uuid_of(text: str) -> UUID:
    """The id in an address. Raises NotFound for anything that is none."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("There is nothing at this address.") from None
