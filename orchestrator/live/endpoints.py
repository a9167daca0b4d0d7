"""Which URL a machine may be registered with, for the native API and the dialects alike."""

from __future__ import annotations

from drivers import egress
from orchestrator.auth import Principal
from orchestrator.errors import FieldError, Forbidden, Invalid


def check_endpoint(url: str, *, private: bool, principal: Principal) -> None:
    """Raise Invalid for a URL that may not be reached, Forbidden when this caller may not allow private addresses."""
    if private and not principal.may("admin"):
        raise Forbidden("only an administrator lets a machine lie at a private address (endpoint_private)")
    if not url.lower().startswith(("http://", "https://")):
        raise Invalid("endpoint is no URL", errors=[FieldError("endpoint", "must be an http or https URL")])
    try:
        egress.check_url(url, allow_private=private)
    except egress.Refused as error:
        remedy = "" if private else "; an administrator may allow private addresses with endpoint_private"
        message = f"{error}{remedy}"
        raise Invalid(f"endpoint: {message}", code="url_refused", errors=[FieldError("endpoint", message)]) from error
