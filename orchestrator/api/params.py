"""Query parameters that several lists share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar.params import Parameter

from orchestrator.errors import FieldError, Invalid
from orchestrator.runs.paging import LARGEST_PAGE

NO_NUL: Final = r"^[^\x00]*$"
"""The pattern of a text that is asked of the database, which knows no NUL."""

Limit = Annotated[int, Parameter(ge=1, le=LARGEST_PAGE, description="How many items a page holds at most.")]
Cursor = Annotated[str | None, Parameter(max_length=100, description="The next_cursor of the page before.")]
Moment = Annotated[
    str | None,
    Parameter(max_length=40, description="RFC 3339, with a time zone.", schema_extra={"format": "date-time"}),
]
"""Text until `moment` reads it: the framework would take a number for one."""


def moment(name: str, text: str | None) -> datetime | None:
    """The time that a parameter names. Raises Invalid."""
    if text is None:
        return None
    try:
        value = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise _no_moment(name, "is no time", "write it as 2030-01-31T12:00:00Z") from None
    if value.tzinfo is None:
        raise _no_moment(name, "has no time zone", "add Z or an offset")
    if not 1970 < value.year < 9000:  # beyond it other time zones, and sums with it, have no date
        raise _no_moment(name, "is too far away", "give a year from 1971 to 8999")
    return value


def _no_moment(name: str, what: str, remedy: str) -> Invalid:
    return Invalid(f"{name}: {what}", errors=[FieldError(name, f"{what}: {remedy}")])
