"""The facade on a host name of its own, for clients that can be given a host and no path, and for the front end.

A page of the front end runs scripts that we did not write: on a name of its own it cannot act with the dashboard's
cookie. Requests to that name get the facade's prefix, but for stored files, which are the same everywhere.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from litestar.types import ASGIApp, Receive, Scope, Send

from orchestrator.config import Config

PREFIX: Final = "/comfy"
FILES: Final = "/files/"
OWN_HOST: Final = "comfyui_host"
"""In a scope's state: the request came to the facade's own host."""


def by_host(app: ASGIApp, host: str | None) -> ASGIApp:
    """The application that serves the facade alone under this name (`host` or `host:port`); None: none has its own."""
    if not host:
        return app
    own = host.lower().encode()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if _is_for(scope, own):
            scope.setdefault("state", {})[OWN_HOST] = True
            path = scope["path"]
            if not path.startswith((FILES, f"{PREFIX}/")):
                scope["path"] = PREFIX + path
                scope["raw_path"] = PREFIX.encode() + scope["raw_path"]
        await app(scope, receive, send)

    return serve


def _is_for(scope: Scope, own: bytes) -> bool:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").lower()
    return own in (host, host.rpartition(b":")[0])


def address_of(config: Config) -> str:
    """Where a browser finds the facade: its own host, or the prefix."""
    if not config.comfyui_host:
        return config.base_url + PREFIX
    base = urlsplit(config.base_url)
    port = f":{base.port}" if base.port is not None and ":" not in config.comfyui_host else ""
    return f"{base.scheme}://{config.comfyui_host}{port}"
