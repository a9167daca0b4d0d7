"""ETag and If-Match of things that change: a change is refused when the thing is not as the caller last saw it.

A thing's ETag is its revision, a number that every change raises by one. The comparison is made where the change is
(`store`), so that two callers with the same ETag cannot both win; this file knows the headers only.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeVar

from litestar import Response
from litestar.params import HeaderParameter

from orchestrator.errors import FieldError, Invalid

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", description="The ETag last seen: the change is refused (412) when it is another now."
    ),
]
_ETAG: Final = re.compile(r'(?:W/)?"(\d{1,9})"')

T = TypeVar("T")


def expected(if_match: str | None) -> int | None:
    """The revision that a change may be made to; None: any. Raises Invalid for what is no ETag of ours."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        message = 'is no ETag that we gave: send one as it was received, "3" with its quotes, or leave it out'
        raise Invalid(f"If-Match {message}", errors=[FieldError("If-Match", message)])
    return int(match[1])


def tagged(body: T, revision: int, status_code: int = 200) -> Response[T]:
    """The answer with its ETag."""
    return Response(body, status_code=status_code, headers={"ETag": f'"{revision}"'})
