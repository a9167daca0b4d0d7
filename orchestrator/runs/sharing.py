"""Who may use a share's link, and how. Pure.

A private link is for the team. A public one is for anyone where the installation lets others in at all; where it does
not, it is for the team as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from orchestrator.errors import FieldError
from orchestrator.runs.inputs import file_ids
from orchestrator.wire import Visibility

Admission = Literal["member", "guest", "stranger", "log-in"]
"""member: of the team. guest: anyone, by a public link. stranger: must not learn of it. log-in: must say who it is."""

VISIBILITY: Final[dict[str, Visibility]] = {"public-share": "public", "private-share": "private"}


def admit(visitor: str | None, owner: str | None, visibility: Visibility | None, *, guests: bool) -> Admission:
    """How somebody may use the link. visitor: their organisation, None: nobody knows who it is.

    owner and visibility None: there is no such link. guests: whether the installation lets others use public links.
    """
    if visitor is not None and visitor == owner:
        return "member"
    if guests and visibility == "public":
        return "guest"
    return "log-in" if visitor is None else "stranger"


def refuse_files(inputs: Mapping[str, Any]) -> list[FieldError]:
    """Guests name no stored files: these are the team's. They give URLs, or pictures as data: URLs."""
    message = "files that are stored here cannot be named through a public link: give a URL or a data: URL"
    return [
        FieldError(f"inputs.{name}", message, "file_not_found")
        for name, value in inputs.items()
        if file_ids({name: value})
    ]
