"""One file and some short fields out of a multipart body, as it arrives: nothing is held in memory but the fields.

It knows no names of fields but the file's, and not what becomes of the bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from orchestrator.errors import BadRequest, TooLarge, WrongType

MOST_PARTS: Final = 64
MOST_FIELD: Final = 64 * 1024
OVERHEAD: Final = 256 * 1024


class Form:
    """A multipart body whose part named `file_field` is a file. name and content_type are known once it was met."""

    def __init__(self, request: Request[Any, Any, State], file_field: str, limit: int) -> None:
        self._request = request
        self._file_field = file_field
        self._limit = limit + OVERHEAD
        self._boundary = _boundary(request)
        self._part: str | None = None
        self._inside = False
        self.name: str | None = None
        self.content_type = ""
        self.fields: dict[str, list[bytes]] = {}
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._limit:
            raise TooLarge(f"the body is larger than {limit} bytes")

    def text(self, field: str, default: str = "") -> str:
        """A field's first value; what is no UTF-8 in it is replaced."""
        values = self.fields.get(field)
        return values[0].decode("utf-8", "replace") if values else default

    def texts(self, field: str) -> list[str]:
        """All values of a repeated field."""
        return [value.decode("utf-8", "replace") for value in self.fields.get(field, [])]

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes as they arrive; the fields are all there at the end. Raises BadRequest, TooLarge."""
        received = 0
        try:
            with PushMultipartParser(self._boundary, max_segment_count=MOST_PARTS) as parser:
                async for data in self._request.stream():
                    received += len(data)
                    if received > self._limit:
                        raise TooLarge("the body is larger than is allowed")
                    for event in parser.parse(data):
                        if isinstance(event, MultipartSegment):
                            self._meet(event)
                        elif event and self._inside:
                            yield bytes(event)
                        elif event:
                            self._add(bytes(event))
        except (MultipartError, ValueError, LookupError) as error:
            raise BadRequest(f"the multipart body is malformed: {error}", code="malformed_multipart") from error

    def _meet(self, part: MultipartSegment) -> None:
        self._inside = part.name == self._file_field and self.name is None and part.filename is not None
        self._part = part.name
        if self._inside:
            self.name = part.filename or ""
            self.content_type = part.content_type or ""
        else:
            self.fields.setdefault(part.name, []).append(b"")

    def _add(self, data: bytes) -> None:
        values = self.fields[self._part or ""]
        values[-1] += data
        if len(values[-1]) > MOST_FIELD:
            raise BadRequest(f"the field {self._part!r} is too long", code="malformed_multipart")


def _boundary(request: Request[Any, Any, State]) -> str:
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_type() != "multipart/form-data":
        raise WrongType("the body must be multipart/form-data")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise BadRequest("the multipart boundary is missing", code="malformed_multipart")
    return boundary
