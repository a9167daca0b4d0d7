"""Where a machine that is pushed to may lie, and what its endpoint asks for, for every API alike."""

from __future__ import annotations

from drivers import egress
from orchestrator.auth import Principal
from orchestrator.errors import FieldError, Forbidden, Invalid


def token_name(machine_id: str) -> str:
    """Under which of its organisation's secrets the endpoint's own credential (`user:password`) is kept."""
    return f"endpoint.{machine_id}"


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
