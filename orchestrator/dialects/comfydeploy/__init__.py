"""ComfyDeploy's API in both generations, under /api: its clients and its ComfyUI plugin change one address."""

from __future__ import annotations

from typing import Final

from litestar import Router

from orchestrator.dialects.comfydeploy import (
    absent,
    library,
    logins,
    machines,
    reporting,
    runs,
    streams,
    uploads,
    workflows,
)
from orchestrator.dialects.comfydeploy.callers import principal_of
from orchestrator.dialects.comfydeploy.problems import HANDLERS

__all__ = ["routes"]

routes: Final = [
    Router(
        "/api",
        route_handlers=[
            *reporting.handlers,
            *runs.handlers,
            *workflows.handlers,
            *machines.handlers,
            *uploads.handlers,
            *streams.handlers,
            *logins.handlers,
            *library.handlers,
            *absent.handlers,
        ],
        exception_handlers=HANDLERS,
        opt={"principal_by": principal_of},
        include_in_schema=False,
    ),
    logins.pages,
]
