"""Shares: links to a page where others run a deployment, and what such a page is made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from orchestrator.wire.base import Name, Request, RunStatus

Slug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{5,62}$")]
Visibility = Literal["public", "private"]


class ShareCreate(Request):
    """Body of POST /shares. The deployment's environment is public-share or private-share, which says for whom it is.

    Without a slug one is made that nobody can guess. title: left out, the workflow's name.
    """

    deployment_id: str
    slug: Slug | None = None
    title: Name | None = None
    description: Annotated[str, Meta(max_length=5000)] = ""


class Share(Struct, omit_defaults=True):
    """A link, as those see it who made it. url is where its page's data are."""

    id: str
    slug: str
    deployment_id: str
    visibility: Visibility
    title: str
    created_at: datetime
    url: str = ""
    description: str = ""


class SharePage(Struct):
    """What a page shows: no graph, no names of nodes or machines. inputs: JSON Schema of what a run may be given."""

    slug: str
    visibility: Visibility
    title: str
    description: str
    inputs: dict[str, Any]


class ShareRunCreate(Request):
    """Body of POST /shares/{slug}/runs."""

    inputs: dict[str, Any] = field(default_factory=dict)


class ShareRunAccepted(Struct, omit_defaults=True):
    """202: the run is stored. token shows that its holder started it: send it as Share-Token to look at the run."""

    id: str
    status: RunStatus
    url: str
    token: str


class ShareOutput(Struct, omit_defaults=True):
    """One thing that came out. url is signed and expires."""

    kind: str
    name: str | None = None
    content_type: str | None = None
    size: int | None = None
    url: str | None = None
    data: Any = None


class ShareRun(Struct, omit_defaults=True):
    """A run, as far as who started it through a link needs it. failure: the class of what went wrong."""

    id: str
    status: RunStatus
    created_at: datetime
    ended_at: datetime | None = None
    failure: str | None = None
    outputs: list[ShareOutput] = []
