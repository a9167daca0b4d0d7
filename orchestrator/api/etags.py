"""ETag, If-Match and If-None-Match of things that change.

A thing's ETag is its revision, a number that every change raises by one, and a hash of what is shown, where time shows
too. A change is refused when the revision is not the one that the caller last saw: the comparison is made where the
change is (`store`), so that two callers with the same ETag cannot both win. What is shown is not sent again when it is
the very same. This file knows the headers only.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Response
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter

from orchestrator.errors import FieldError, Invalid

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", description="The ETag last seen: the change is refused (412) when it is another now."
    ),
]
IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(name="If-None-Match", description="ETags: 304, without a body, when it is one of them now."),
]
UNCHANGED: Final = {304: ResponseSpec(None, description="As `If-None-Match` names it", generate_examples=False)}
_ETAG: Final = re.compile(r'(?:W/)?"(\d{1,9})(?:-[0-9a-f]{1,64})?"')
_TAGS: Final = re.compile(r'"[^"]*"')

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


def tagged(body: T, revision: int, status_code: int = 200, if_none_match: str | None = None) -> Response[T]:
    """The answer with its ETag; 304 without a body when the caller has it."""
    shown = hashlib.sha256(msgspec.json.encode(body)).hexdigest()[:16]
    tag = f'"{revision}-{shown}"'
    headers = {"ETag": tag}
    if if_none_match is not None and (if_none_match.strip() == "*" or tag in _TAGS.findall(if_none_match)):
        nothing: Response[Any] = Response(None, status_code=304, headers=headers)
        return nothing
    return Response(body, status_code=status_code, headers=headers)
