"""What can go wrong at the public border, as one small tree. Mapped once to problem+json in app.py.

ApiProblem            status, code, title; detail and errors are of the case
├── BadRequest        400  the request itself is malformed
├── Unauthorized      401  no or no valid credential
├── Forbidden         403  a valid credential that may not do this
├── NotFound          404  absent, or another organisation's
├── Conflict          409  the thing is in a state that forbids it
├── Gone              410  it was there, it can be had no more
├── PreconditionFailed 412 If-Match names another revision than the present one
├── TooLarge          413
├── WrongType         415
├── Invalid           422  well-formed, but a field is wrong: errors names each
├── TooMany           429
└── Unavailable       503  try again after retry_after_s
"""

from __future__ import annotations

from msgspec import Struct


class FieldError(Struct, frozen=True, omit_defaults=True):
    """One wrong field. path is a JSON path ("inputs.seed") or a node ("nodes.3"); remedy says what to do."""

    path: str
    message: str
    code: str = "invalid"


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457 body, media type application/problem+json. `code` is stable; texts are not."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    instance: str = ""
    request_id: str = ""
    errors: list[FieldError] = []


class ApiProblem(Exception):
    """An answer that is an error. Subclasses give status and title; code is stable and machine-readable."""

    status = 500
    title = "Internal error"
    code = "internal"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        errors: list[FieldError] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = errors or []
        self.retry_after_s = retry_after_s


class BadRequest(ApiProblem):
    """The request itself is malformed."""

    status, title, code = 400, "Bad request", "bad_request"


class Unauthorized(ApiProblem):
    """No credential, or one that is not valid."""

    status, title, code = 401, "Not authenticated", "unauthorized"


class Forbidden(ApiProblem):
    """A valid credential that may not do this."""

    status, title, code = 403, "Not allowed", "forbidden"


class NotFound(ApiProblem):
    """Absent, or another organisation's: the two look the same."""

    status, title, code = 404, "Not found", "not_found"


class Conflict(ApiProblem):
    """The thing is in a state that forbids this."""

    status, title, code = 409, "Conflict", "conflict"


class Gone(ApiProblem):
    """It was there and can be had no more."""

    status, title, code = 410, "Gone", "gone"


class PreconditionFailed(ApiProblem):
    """The thing is not as the caller last saw it: If-Match names another ETag."""

    status, title, code = 412, "Changed meanwhile", "precondition_failed"


class TooLarge(ApiProblem):
    """The body is larger than the limit."""

    status, title, code = 413, "Too large", "too_large"


class WrongType(ApiProblem):
    """The content type is not one this route reads."""

    status, title, code = 415, "Unsupported content type", "unsupported_content_type"


class Invalid(ApiProblem):
    """Well-formed, but at least one field is wrong; `errors` names each."""

    status, title, code = 422, "Invalid", "invalid"


class TooMany(ApiProblem):
    """Too many requests; retry_after_s says when to come again."""

    status, title, code = 429, "Too many requests", "too_many_requests"


class Unavailable(ApiProblem):
    """Cannot be done now (the database is away, the server drains)."""

    status, title, code = 503, "Unavailable", "unavailable"
